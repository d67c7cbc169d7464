"""Other servers' ways to ask our endpoints: what a dialect is, and what all of them share.

A dialect has its own paths and bodies; limits, lanes, deadlines, error bodies and metrics are ours. Its lists are
answered whole or not at all, because no other server's list can hold an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from polystilts.errors import InvalidValue, NoModel, PolystiltsError, TooLarge
from serving.endpoints import ENDPOINTS, Endpoint, check_limits
from serving.http_errors import MissingField
from serving.record import Record
from serving.runtime import Runtime, Served
from serving.settings import Settings


@dataclass(frozen=True)
class Translated:
    """A body in our terms.

    Attributes:
        endpoint: that answers.
        items: what it is asked.
        places: where each item stands in the body, as an error's `param` says it.
        model: key of the model that shall answer; None = the endpoint's first.
        write: the answer's body, of the results of all items; may raise a PolystiltsError.
    """

    endpoint: Endpoint
    items: Sequence[Mapping[str, Any]]
    places: Sequence[str]
    model: str | None
    write: Callable[[Served, Sequence[Any], Record], BaseModel]

    def answer(self, served: Served, results: Sequence[BaseModel | PolystiltsError], record: Record) -> BaseModel:
        """The answer's body.

        Raises:
            PolystiltsError: that of the first item that has one, with the item's place.
        """
        for place, result in zip(self.places, results, strict=True):
            if isinstance(result, PolystiltsError):
                raise at(place, result)
        return self.write(served, results, record)


@dataclass(frozen=True)
class Dialect:
    """One ``POST`` of another server's.

    Attributes:
        name: of the operation in the OpenAPI document.
        examples: requests by language, for the OpenAPI document.
        read: checks a body, before any text is tokenised; raises PolystiltsErrors that name its fields.
    """

    name: str
    path: str
    summary: str
    request: type[BaseModel]
    response: type[BaseModel]
    examples: Mapping[str, Mapping[str, Any]]
    read: Callable[[dict[str, Any], Settings], Translated]


@dataclass(frozen=True)
class Description:
    """One ``GET`` of another server's that describes the server, or the model that the path names.

    Attributes:
        read: runtime, settings, name in the path ('' = none is in it) -> the answer's body.
    """

    path: str
    summary: str
    response: type[BaseModel]
    read: Callable[[Runtime, Settings, str], BaseModel]


def endpoint_named(name: str) -> Endpoint:
    """The endpoint of `ENDPOINTS` that has this name."""
    return next(endpoint for endpoint in ENDPOINTS if endpoint.name == name)


def model_named(runtime: Runtime, key: str) -> Served:
    """The model of this key.

    Raises:
        NoModel: naming those that there are.
    """
    served = {model.key: model for model in runtime.served}
    if key not in served:
        there = ", ".join(served) or "none"
        raise NoModel(f"no model of that name; there are: {there}", param="model", given=key[:100])
    return served[key]


def required(body: dict[str, Any], field: str) -> Any:
    """Takes a field out of a body.

    Raises:
        MissingField
    """
    if field not in body:
        raise MissingField(f"{field}: is required", param=field)
    return body.pop(field)


def check_count(field: str, count: int, settings: Settings) -> None:
    """Refuses a list of no items, or of too many.

    Raises:
        InvalidValue, TooLarge
    """
    if not count:
        raise InvalidValue(f"{field}: the list is empty", param=field, limit=1, given=0)
    if count > settings.items:
        message = f"{field} has {count} items; the limit is {settings.items}"
        raise TooLarge(message, param=field, limit=settings.items, given=count)


def check_text(place: str, text: Any) -> str:
    """A text that is one and is not empty.

    Raises:
        InvalidValue
    """
    if not isinstance(text, str):
        raise InvalidValue(f"{place}: Input should be a valid string", param=place)
    if not text:
        raise InvalidValue(f"{place}: an empty text has no meaning", param=place, limit=1, given=0)
    return text


def texts(field: str, value: Any, settings: Settings) -> tuple[list[str], list[str]]:
    """One text or a list of them: the texts, and the place of each.

    Raises:
        InvalidValue: not text (token ids are told so), or empty.
        TooLarge: too many texts.
    """
    several = isinstance(value, list)
    found = value if several else [value]
    check_count(field, len(found), settings)
    first = found[0]
    if isinstance(first, int) or (isinstance(first, list) and all(isinstance(one, int) for one in first)):
        raise InvalidValue(
            f"{field}: send text; token ids depend on the tokenizer, and only the server has the model's", param=field
        )
    places = [f"{field}.{index}" for index in range(len(found))] if several else [field]
    return [check_text(place, text) for place, text in zip(places, found, strict=True)], places


def check_lengths(
    endpoint: Endpoint, items: Sequence[Mapping[str, Any]], places: Sequence[str], settings: Settings
) -> None:
    """Refuses items with a text that is too long.

    Raises:
        TooLarge: naming the item's place.
    """
    for place, item in zip(places, items, strict=True):
        try:
            check_limits(endpoint, endpoint.item.model_validate(item), settings)
        except TooLarge as error:
            raise at(place, error) from None


def at(place: str, error: PolystiltsError) -> PolystiltsError:
    """The same error, said of this place in the body."""
    error.message, error.param = f"{place}: {error.message}", place
    return error
