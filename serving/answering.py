"""From checked bodies to results: encode by stretches, run on the scheduler's lanes, decode.

Every endpoint that runs a model goes through `answer`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from polystilts.errors import InvalidValue, NotReady, PolystiltsError, TooLarge
from polystilts.formats import Features, Format
from polystilts.formats.values import Example, Rejected
from polystilts.runtime.scheduler import DeadlineExceeded, Done, QueueFull
from serving.endpoints import Endpoint, Work, check_limits, texts_of
from serving.http_errors import invalid
from serving.record import Record
from serving.runtime import Runtime, Served
from serving.scripts import script_of
from serving.settings import Settings

logger = logging.getLogger(__name__)

#: Bytes of a body whose texts are tokenised on the event loop, in less time than handing them to a thread takes.
SMALL_BODY = 2048

#: Code points that are tokenised at a stretch; then it is another request's turn, and time to see who still waits.
STRETCH = 50_000

#: So long after its body was read nobody looks whether the client is still there, in seconds: most answers are ready
#: by then.
UNWATCHED = 0.02

#: Rows that are decoded on the event loop; more would hold up other requests, and go to a thread.
FEW_ROWS = 8

T = TypeVar("T")


class Encoders:
    """The threads that tokenise, and how much may wait for them.

    Args:
        limit: code points of the requests that are being tokenised or wait for it; one alone may be larger.
        threads: tokenisers at once; they let go of the interpreter, so two keep the lanes busy.
    """

    def __init__(self, limit: int, *, threads: int = 2) -> None:
        self._limit = limit
        self._waiting = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="encode")

    def run(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Runs a function in one of the threads."""
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    @contextmanager
    def room(self, characters: int) -> Iterator[None]:
        """For the texts of one request, while the block runs; on the event loop alone.

        Raises:
            QueueFull: too much waits already.
        """
        if self._waiting and self._waiting + characters > self._limit:
            raise QueueFull(
                f"texts of {self._waiting} characters wait to be tokenised; the limit is {self._limit}",
                retry_after=1.0,
                limit=self._limit,
                given=self._waiting + characters,
            )
        self._waiting += characters
        try:
            yield
        finally:
            self._waiting -= characters


class _Patience:
    """How long somebody waits for an answer: until the deadline, and while the client is there."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._deadline: float = request.state.deadline
        self._watched = time.monotonic() + UNWATCHED
        self._gone: asyncio.Future[None] | None = None

    async def wait(self, work: asyncio.Future[T]) -> T:
        """What `work` gives; it is cancelled when nobody waits for it any more.

        Raises:
            DeadlineExceeded, ClientDisconnect
        """
        try:
            if self._gone is None:
                await asyncio.wait((work,), timeout=_until(min(self._watched, self._deadline)))
                if work.done():
                    return work.result()
                self._gone = asyncio.ensure_future(_disconnected(self._request))
            both: set[asyncio.Future[Any]] = {work, self._gone}
            await asyncio.wait(both, timeout=_until(self._deadline), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if self._gone.done():
                raise ClientDisconnect
            raise DeadlineExceeded("the deadline passed before the answer was there", param="X-Timeout-Ms")
        finally:
            work.cancel()

    def end(self) -> None:
        """Nothing is waited for any more."""
        if self._gone is not None:
            self._gone.cancel()


def _until(moment: float) -> float:
    """Seconds from now, none where it has passed."""
    return max(0.0, moment - time.monotonic())


async def answer(
    request: Request, endpoint: Endpoint, served: Served, items: Sequence[Any]
) -> list[BaseModel | PolystiltsError]:
    """A result, or why there is none, for each item.

    The request's `Record` is filled with what the answer took.

    Raises:
        TooLarge, QueueFull, DeadlineExceeded, SchedulerClosed: for the request as a whole.
        ClientDisconnect: the client has gone; what had not run was dropped.
    """
    runtime: Runtime = request.app.state.runtime
    settings: Settings = request.app.state.settings
    encoders: Encoders = request.app.state.encoders
    record: Record = request.state.record
    record.target, record.digest, record.items = served.delivered.target, served.delivered.digest, len(items)
    small = served.held.loaded and int(request.headers.get("content-length", SMALL_BODY + 1)) <= SMALL_BODY
    with ExitStack() as stack:
        patience = _Patience(request)
        stack.callback(patience.end)
        if small:
            works = _prepare_all(endpoint, served, items, settings, record)
        else:
            works = await patience.wait(encoders.run(_prepare_all, endpoint, served, items, settings, record))
        if not served.held.loaded:
            await patience.wait(encoders.run(_load, runtime, served))
        model = stack.enter_context(runtime.pool.lease(served.held))
        examples = [example for work in works if isinstance(work, Work) for example in work.examples]
        start = time.perf_counter()
        encoded: list[list[Features] | Rejected] = []
        with encoders.room(record.characters):
            for stretch in _stretches(examples):
                # `encode_batch` lets go of the interpreter, but a long text would still hold up the event loop.
                encode = model.format.encode
                encoded += encode(stretch) if small else await patience.wait(encoders.run(encode, stretch))
        record.tokenise_ms = (time.perf_counter() - start) * 1000
        features = [f for rows in encoded if not isinstance(rows, Rejected) for f in rows]
        _check_padded(features, endpoint, settings)
        state = request.state
        future = runtime.scheduler.submit(
            model.engine, features, deadline=state.deadline, owner=state.owner, share=state.share
        )
        done = future.result() if future.done() else await patience.wait(asyncio.wrap_future(future))
        record.queue_ms, record.run_ms = done.queue_ms, done.run_ms
        record.rows, record.tokens, record.padded = len(done.outputs), done.tokens, done.padded
        start = time.perf_counter()
        decoding = model.format, works, encoded, done
        few = len(done.outputs) <= FEW_ROWS
        results = _decode(*decoding) if few else await patience.wait(encoders.run(_decode, *decoding))
        record.decode_ms = (time.perf_counter() - start) * 1000
    return results


def _prepare_all(
    endpoint: Endpoint, served: Served, items: Sequence[Any], settings: Settings, record: Record
) -> list[Work | PolystiltsError]:
    return [_prepare(endpoint, served, item, settings, record) for item in items]


def _stretches(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """The examples in order, in parts of about `STRETCH` code points."""
    part: list[Example] = []
    size = 0
    for example in examples:
        part.append(example)
        size += _characters(example)
        if size >= STRETCH:
            yield part
            part, size = [], 0
    if part:
        yield part


def _characters(example: Example) -> int:
    """Code points of an example's texts."""
    values = [getattr(example, field.name) for field in fields(example)]
    return sum(
        len(value) if isinstance(value, str) else sum(len(text) for text in value if isinstance(text, str))
        for value in values
        if isinstance(value, str | tuple)
    )


def _check_padded(features: Sequence[Features], endpoint: Endpoint, settings: Settings) -> None:
    limit = settings.tokens if endpoint.several else settings.align_tokens
    padded = len(features) * max(map(len, features), default=0)
    if padded > limit:
        raise TooLarge(
            f"the request has {len(features)} rows of up to {padded // len(features)} tokens, {padded} with padding; "
            f"the limit is {limit}",
            param="items" if endpoint.several else None,
            limit=limit,
            given=padded,
        )


def _load(runtime: Runtime, served: Served) -> None:
    """Brings a model into memory that was unloaded.

    Raises:
        NotReady: it cannot be loaded again; what is wrong with its files is for the log alone.
    """
    try:
        with runtime.pool.lease(served.held):
            pass
    except (PolystiltsError, OSError) as error:
        logger.error("model %s cannot be loaded again: %s", served.key, error)
        raise NotReady(f"the model {served.key} cannot be loaded again", param="model") from None


def _prepare(
    endpoint: Endpoint, served: Served, item: Any, settings: Settings, record: Record
) -> Work | PolystiltsError:
    try:
        if not isinstance(item, dict):
            raise InvalidValue("an item must be a JSON object")
        checked = endpoint.item.model_validate(item)
        check_limits(endpoint, checked, settings)
        _count(checked, record)
        return endpoint.prepare(checked, served.bundle.settings)
    except ValidationError as error:
        return invalid(error)
    except PolystiltsError as error:
        return error


def _count(item: BaseModel, record: Record) -> None:
    """The item's characters, and the script of its longest text."""
    texts = texts_of(item)
    record.characters += sum(map(len, texts))
    script = script_of(max(texts, key=len, default=""))
    record.scripts[script] = record.scripts.get(script, 0) + 1


async def _disconnected(request: Request) -> None:
    """Returns when the client has gone; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _decode(
    format_: Format,
    works: Sequence[Work | PolystiltsError],
    encoded: Sequence[list[Features] | Rejected],
    done: Done,
) -> list[BaseModel | PolystiltsError]:
    rows, outputs = iter(encoded), iter(done.outputs)
    results: list[BaseModel | PolystiltsError] = []
    for work in works:
        if isinstance(work, PolystiltsError):
            results.append(work)
            continue
        own = [(example, next(rows)) for example in work.examples]
        refused = [found.error for _, found in own if isinstance(found, Rejected)]
        predictions = [
            format_.decode(example, found, [next(outputs) for _ in found])
            for example, found in own
            if not isinstance(found, Rejected)
        ]
        results.append(refused[0] if refused else work.finish(predictions))
    return results
