"""From checked bodies to results: encode in a thread, run on the scheduler's lanes, decode.

Every endpoint that runs a model goes through `answer`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from polystilts.errors import InvalidValue, NotReady, PolystiltsError, TooLarge
from polystilts.formats import Features
from polystilts.formats.values import Rejected
from polystilts.runtime.pool import Model
from polystilts.runtime.scheduler import DeadlineExceeded, Done
from serving.endpoints import Endpoint, Work, check_limits
from serving.http_errors import invalid
from serving.record import Record
from serving.runtime import Runtime, Served
from serving.scripts import script_of
from serving.settings import Settings

logger = logging.getLogger(__name__)

#: Bytes of a body whose texts are tokenised on the event loop, in less time than handing them to a thread takes.
SMALL_BODY = 2048

#: Rows that are decoded on the event loop; more would hold up other requests, and go to a thread.
FEW_ROWS = 8


@dataclass(frozen=True)
class _Encoded:
    """The items of a request on their way: for each a work or an error, for each work's examples their rows."""

    works: Sequence[Work | PolystiltsError]
    rows: Sequence[Sequence[list[Features] | Rejected]]
    model: Model
    future: Future[Done]


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
    record: Record = request.state.record
    record.target, record.digest, record.items = served.delivered.target, served.delivered.digest, len(items)
    with ExitStack() as leases:
        loop = asyncio.get_running_loop()
        if served.held.loaded and int(request.headers.get("content-length", SMALL_BODY + 1)) <= SMALL_BODY:
            encoded = _encode(request, runtime, endpoint, served, items, leases)
        else:
            encoded = await loop.run_in_executor(None, _encode, request, runtime, endpoint, served, items, leases)
        done = await _wait(request, encoded.future)
        record.queue_ms, record.run_ms = done.queue_ms, done.run_ms
        record.rows, record.tokens, record.padded = len(done.outputs), done.tokens, done.padded
        start = time.perf_counter()
        if len(done.outputs) <= FEW_ROWS:
            results = _decode(encoded, done)
        else:
            results = await loop.run_in_executor(None, _decode, encoded, done)
        record.decode_ms = (time.perf_counter() - start) * 1000
    return results


def _encode(
    request: Request, runtime: Runtime, endpoint: Endpoint, served: Served, items: Sequence[Any], leases: ExitStack
) -> _Encoded:
    """Checks, tokenises and submits; for large bodies in a thread, where `encode_batch` lets go of the interpreter."""
    settings: Settings = request.app.state.settings
    record: Record = request.state.record
    works = [_prepare(endpoint, served, item, settings, record) for item in items]
    model = _lease(runtime, served, leases)
    examples = [example for work in works if isinstance(work, Work) for example in work.examples]
    start = time.perf_counter()
    found = iter(model.format.encode(examples))
    record.tokenise_ms = (time.perf_counter() - start) * 1000
    rows = [[next(found) for _ in work.examples] if isinstance(work, Work) else [] for work in works]
    features = [f for group in rows for part in group if not isinstance(part, Rejected) for f in part]
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
    future = runtime.scheduler.submit(
        model.engine,
        features,
        deadline=request.state.deadline,
        owner=request.state.owner,
        share=request.state.share,
    )
    return _Encoded(works, rows, model, future)


def _lease(runtime: Runtime, served: Served, leases: ExitStack) -> Model:
    """The model in memory.

    Raises:
        NotReady: it has to be loaded again and cannot be; what is wrong with its files is for the log alone.
    """
    try:
        return leases.enter_context(runtime.pool.lease(served.held))
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
    texts = [
        text for _, value in item for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)
    ]
    record.characters += sum(map(len, texts))
    script = script_of(max(texts, key=len, default=""))
    record.scripts[script] = record.scripts.get(script, 0) + 1


async def _wait(request: Request, future: Future[Done]) -> Done:
    """What the lanes give; drops the work when its time has passed or nobody waits for it any more."""
    if future.done():
        return future.result()
    work = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(_disconnected(request))
    both: set[asyncio.Future[Any]] = {work, gone}
    try:
        await asyncio.wait(
            both,
            timeout=max(0.0, request.state.deadline - time.monotonic()),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if work.done():
            return work.result()
        if gone.done():
            raise ClientDisconnect
        raise DeadlineExceeded("the deadline passed before the answer was there", param="X-Timeout-Ms")
    finally:
        work.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    """Returns when the client has gone; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _decode(encoded: _Encoded, done: Done) -> list[BaseModel | PolystiltsError]:
    outputs = iter(done.outputs)
    decode = encoded.model.format.decode
    results: list[BaseModel | PolystiltsError] = []
    for work, groups in zip(encoded.works, encoded.rows, strict=True):
        if isinstance(work, PolystiltsError):
            results.append(work)
            continue
        refused = [group.error for group in groups if isinstance(group, Rejected)]
        predictions = [
            decode(example, group, [next(outputs) for _ in group])
            for example, group in zip(work.examples, groups, strict=True)
            if not isinstance(group, Rejected)
        ]
        results.append(refused[0] if refused else work.finish(predictions))
    return results
