"""A challenger beside its champion: a share of the champion's requests is answered by both, and agreement is counted.

The champion's answer is the one that is sent, and it is sent before anything here begins. A mirrored text waits for
nothing and nothing may wait for it: it runs alone, on one lane, only while the queue is empty and another lane is free
(where there is more than one); otherwise it is dropped without a word. So agreement is measured on texts of quiet
times, and a server that is never quiet measures none.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import numpy as np
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.requests import Request

from polystilts.errors import PolystiltsError
from polystilts.formats.values import Rejected
from polystilts.runtime.models_folder import AT_CHALLENGER
from polystilts.runtime.pool import Model
from polystilts.runtime.scheduler import Scheduler
from serving import schemas
from serving.endpoints import Endpoint, texts_of
from serving.metrics import Metrics
from serving.runtime import Runtime, Served
from serving.scripts import script_of

logger = logging.getLogger(__name__)

#: From this cosine on, two vectors of one text agree. Only challengers that share the champion's space can: the
#: question is whether vectors stored from one may be searched with the other.
COSINE = 0.95

#: More work waiting than this, in milliseconds per lane, and nothing is mirrored.
QUIET_MS = 1.0

#: Seconds for which a mirrored row waits for quiet: a lane is busy for a moment longer than its last answer takes.
SOON = 0.1

#: A mirrored text that takes longer is given up, in seconds.
PATIENCE = 5.0

#: Whose work it is in the queue; no client's name, because neither an address nor a key's name has parentheses.
_OWNER = "(mirror)"


class Mirror:
    """Mirrors a share of the requests, one at a time, in a thread of its own.

    Args:
        share: of a champion's requests, 0 to 1; which ones depends on the request's id alone.
    """

    def __init__(self, share: float, metrics: Metrics) -> None:
        self.share = share
        self._metrics = metrics
        self._running = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mirror")

    def after(
        self,
        request: Request,
        endpoint: Endpoint,
        served: Served,
        items: Sequence[Any],
        results: Sequence[BaseModel | PolystiltsError],
    ) -> BackgroundTask | None:
        """What is to be done when the answer has been sent, if anything."""
        if not drawn(request.state.record.request_id, self.share) or not endpoint.several:
            return None  # a whole /v1/align would hold a lane for seconds
        runtime: Runtime = request.app.state.runtime
        wanted = served.delivered.target + AT_CHALLENGER if served.key == served.delivered.target else ""
        challenger = next((model for model in runtime.served if model.key == wanted), None)
        if challenger is None or not endpoint.accepts(challenger.bundle.settings):
            return None
        pairs = [
            (item, result)
            for item, result in zip(items, results, strict=True)
            if not isinstance(result, PolystiltsError)
        ]
        return BackgroundTask(self._start, runtime, endpoint, challenger, pairs)

    async def _start(self, *given: Any) -> None:
        """Hands over and returns, so that the request ends; a second one at once is dropped."""
        if not self._running:
            self._running = True
            self._thread.submit(self._run, *given)

    def _run(
        self, runtime: Runtime, endpoint: Endpoint, challenger: Served, pairs: Sequence[tuple[Any, BaseModel]]
    ) -> None:
        try:
            # Loading it now might cost a champion its place in memory.
            if challenger.held.loaded and _soon_quiet(runtime.scheduler):
                with runtime.pool.lease(challenger.held) as model:
                    for script, agreed in _answers(runtime.scheduler, endpoint, model, pairs):
                        self._metrics.mirrored(challenger.delivered.target, script, agreed)
        except (PolystiltsError, TimeoutError) as error:
            logger.debug("not mirrored: %s", error)
        except Exception:  # a challenger's fault is no request's
            logger.exception("mirroring to %s failed", challenger.key)
        finally:
            self._running = False


def drawn(request_id: str, share: float) -> bool:
    """Whether a request is one of the share; the same id always gives the same answer."""
    if share <= 0:
        return False
    digest = hashlib.blake2b(request_id.encode("ascii", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def quiet(scheduler: Scheduler) -> bool:
    """Nothing waits, and a request that came now would find a lane beside the mirrored text's."""
    free = scheduler.lanes - scheduler.busy
    return scheduler.queue_ms < QUIET_MS and free >= min(2, scheduler.lanes)


def _soon_quiet(scheduler: Scheduler) -> bool:
    end = time.monotonic() + SOON
    while not quiet(scheduler):
        if time.monotonic() > end:
            return False
        time.sleep(SOON / 50)
    return True


def _answers(
    scheduler: Scheduler, endpoint: Endpoint, model: Model, pairs: Sequence[tuple[Any, BaseModel]]
) -> Iterator[tuple[str, bool]]:
    """Script and agreement of one item after another, until it is no longer quiet."""
    engine = replace(model.engine, wide=None, wide_cost=None)  # all cores are the champions'
    for item, first in pairs:
        checked = endpoint.item.model_validate(item)
        work = endpoint.prepare(checked, model.bundle.settings)
        predictions = []
        for example, rows in zip(work.examples, model.format.encode(work.examples), strict=True):
            if isinstance(rows, Rejected):
                raise rows.error
            outputs = []
            for row in rows:
                if not _soon_quiet(scheduler):
                    return
                future = scheduler.submit(engine, [row], deadline=time.monotonic() + PATIENCE, owner=_OWNER)
                try:
                    outputs += future.result(PATIENCE).outputs
                finally:
                    future.cancel()
            predictions.append(model.format.decode(example, rows, outputs))
        yield script_of(max(texts_of(checked), key=len, default="")), agree(first, work.finish(predictions))


def agree(first: BaseModel, second: BaseModel) -> bool:
    """Whether two models say the same of one item.

    The same label (pair), choice, answer text (span, an empty one being 'no answer') or tag of every word (tagging);
    a cosine of `COSINE` or more (sentence).
    """
    match first:
        case schemas.PairResult():
            return first.label == cast(schemas.PairResult, second).label
        case schemas.ChoiceResult():
            return first.label == cast(schemas.ChoiceResult, second).label
        case schemas.QaResult():
            return first.answer == cast(schemas.QaResult, second).answer
        case schemas.PosResult():
            other = cast(schemas.PosResult, second)
            return [token.tag for token in first.tokens] == [token.tag for token in other.tokens]
        case schemas.EmbedResult():
            return _cosine(first.embedding, cast(schemas.EmbedResult, second).embedding) >= COSINE
        case _:
            return first == second


def _cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """0 for vectors of different size, which share no space, and for a zero vector."""
    if len(first) != len(second):
        return 0.0
    one, other = np.asarray(first), np.asarray(second)
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norms if norms else 0.0
