"""Lanes: which rows run when, with which others, on which core. Knows nothing of HTTP.

A lane is a thread that calls one-thread sessions; there are as many as cores, so calls of all models run side by side
and none waits for a thread pool. A free lane takes the row whose turn it is and adds the rows nearest in length while
one joint call costs less than separate ones; nothing ever waits for company. Rows over `SHORT` tokens leave one lane
free while shorter ones arrive: a running call cannot be stopped, so a short row behind a document would wait for it.

Turns go round: owners (API keys, client addresses) in turn, and each owner's tickets in turn, so that neither a list of
a thousand rows nor a busy client holds up the rest.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Protocol

from polystilts.errors import PolystiltsError
from polystilts.formats import Features
from polystilts.formats.values import Outputs
from polystilts.runtime.cost import CallCost
from polystilts.runtime.priority import give_way

logger = logging.getLogger(__name__)

#: Longer rows leave a lane free for shorter ones, in tokens.
SHORT = 128

#: For so long after a short row has come, one lane is kept free of long rows, in seconds.
RESERVED = 1.0

#: For so long after two tickets have been in the house at once, none gets all cores, in seconds.
COMPANY = 0.1

#: One in so many lone calls goes the other way than the cost models say, so that their pace stays known.
TRIAL = 128

#: Expected milliseconds of calls that a pace keeps when it fades: the next call or two then decide.
FADED = 20.0

#: A lane that has been in one call for longer, while rows wait, is taken for stuck, in seconds.
STUCK = 30.0


class QueueFull(PolystiltsError):
    """More work waits than the bound allows. `retry_after`: seconds after which asking again makes sense."""

    code = "queue_full"
    status = 429

    def __init__(self, message: str, *, retry_after: float, limit: float, given: float) -> None:
        super().__init__(message, param="queue_ms", limit=limit, given=given)
        self.retry_after = retry_after


class DeadlineExceeded(PolystiltsError):
    """The answer cannot be, or was not, there in the time that the caller gave."""

    code = "deadline"
    status = 504


class SchedulerClosed(PolystiltsError):
    """Nothing is taken any more."""

    code = "not_ready"
    status = 503


class Caller(Protocol):
    """One call of a model: `polystilts.runtime.predictor.Predictor.call`."""

    def __call__(self, features: Sequence[Features]) -> list[Outputs]: ...


@dataclass(frozen=True, eq=False)
class Engine:
    """A model that lanes can run.

    Attributes:
        call: one call on one thread; several at once are possible.
        cost: of such a call.
        wide: the same model on all cores, for a ticket that is alone; None where that is not quicker.
        wide_cost: of such a call.
        name: for records.
    """

    call: Caller
    cost: CallCost
    wide: Caller | None = None
    wide_cost: CallCost | None = None
    name: str = ""


@dataclass(frozen=True)
class Done:
    """What a ticket gave.

    Attributes:
        outputs: of each row, in the order given.
        queue_ms: from its submission until its first row ran.
        run_ms: from there until its last row had run.
        tokens: of its rows.
        padded: tokens computed for its rows, padding included.
    """

    outputs: list[Outputs]
    queue_ms: float
    run_ms: float
    tokens: int
    padded: int


@dataclass(eq=False, slots=True)
class _Ticket:
    """The rows of one submission."""

    engine: Engine
    owner: str
    deadline: float
    submitted: float
    outputs: list[Outputs]
    left: int
    tokens: int
    future: Future[Done] = field(default_factory=Future)
    #: Rows that wait, the shortest first.
    waiting: deque[_Row] = field(default_factory=deque)
    waiting_ms: float = 0.0
    row_ms: float = 0.0
    started: float = 0.0
    padded: int = 0


@dataclass(eq=False, slots=True)
class _Row:
    ticket: _Ticket
    index: int
    features: Features
    ms: float
    #: Sorts a model's waiting rows: length, then age.
    key: tuple[int, int]

    @property
    def length(self) -> int:
        return self.key[0]


def _key(row: _Row) -> tuple[int, int]:
    return row.key


@dataclass(slots=True)
class _Lane:
    #: When the running call began; None: free.
    since: float | None = None
    long: bool = False
    #: Milliseconds that the running call takes by its cost model.
    expected: float = 0.0


@dataclass(slots=True)
class _Pace:
    """Measured over expected time of the last twenty calls or so: other work on the cores makes it more than 1.

    A ratio of sums, because other work stops a short call for as long as a long one. It begins as if a tenth of a
    second had been measured as expected.
    """

    measured: float = 100.0
    expected: float = 100.0

    @property
    def value(self) -> float:
        return max(0.25, self.measured / self.expected)

    def add(self, measured: float, expected: float) -> None:
        """Milliseconds of a call; what came before fades."""
        if expected:
            # A machine that slept for an hour was not slow.
            self.measured = 0.95 * self.measured + min(measured, 16 * expected)
            self.expected = 0.95 * self.expected + expected

    def fade(self) -> None:
        """The pace stays and counts for less: nothing is measured, and the times may have changed."""
        if self.expected > FADED:
            self.measured, self.expected = 0.95 * self.measured, 0.95 * self.expected


class Scheduler:
    """Runs rows of many models on `lanes` threads.

    Args:
        lanes: calls at once; as many as cores, see `usable_cores`.
        limit_ms: work that may wait, in milliseconds per lane; a ticket that waits alone may be larger.
        share: of the bound that one owner may hold.
        max_tokens: padded tokens of one call; over 256 a CPU gains nothing and others wait longer.
        gives_way: lanes run below the priority of other threads, so that those answer while all cores compute.
        on_batch: told after each call: engine, rows, their tokens, padded tokens.
    """

    def __init__(
        self,
        lanes: int,
        *,
        limit_ms: float = 3000.0,
        share: float = 0.5,
        max_tokens: int = 256,
        gives_way: bool = False,
        on_batch: Callable[[Engine, int, int, int], None] | None = None,
    ) -> None:
        self.limit_ms = limit_ms
        self.share = share
        self.max_tokens = max_tokens
        self._gives_way = gives_way
        self._on_batch = on_batch
        self._changed = threading.Condition()
        #: Tickets with waiting rows, by owner; whose turn it is stands first.
        self._owners: OrderedDict[str, deque[_Ticket]] = OrderedDict()
        #: Milliseconds of waiting rows, by owner.
        self._held: dict[str, float] = {}
        self._rows: dict[Engine, list[_Row]] = {}
        self._number = 0
        self._waiting_ms = 0.0
        self._last_short = -RESERVED
        self._last_company = -COMPANY
        self._in_house = 0
        self._pace, self._wide_pace = _Pace(), _Pace()
        self._lone = 0
        self._closed = False
        self._lanes = [_Lane() for _ in range(lanes)]
        self._threads = [
            threading.Thread(target=self._serve, args=(lane,), name=f"lane-{number}", daemon=True)
            for number, lane in enumerate(self._lanes)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def lanes(self) -> int:
        return len(self._lanes)

    @property
    def busy(self) -> int:
        """Lanes in a call."""
        return sum(lane.since is not None for lane in self._lanes)

    @property
    def queue_ms(self) -> float:
        """Estimated milliseconds of work waiting, per lane."""
        return self._waiting_ms * self._pace.value / len(self._lanes)

    @property
    def stuck(self) -> bool:
        """A lane has been in one call for `STUCK` seconds and more while rows wait."""
        now = time.monotonic()
        with self._changed:
            return bool(self._owners) and any(lane.since and now - lane.since > STUCK for lane in self._lanes)

    def check(self, owner: str, share: float | None = None) -> None:
        """Refuses an owner for whose next row there is no room, before any work is spent on it.

        Raises:
            QueueFull, SchedulerClosed: as `submit` does.
        """
        with self._changed:
            self._check_room(owner, self.share if share is None else share)

    def submit(
        self,
        engine: Engine,
        rows: Sequence[Features],
        *,
        deadline: float = float("inf"),
        owner: str = "",
        share: float | None = None,
    ) -> Future[Done]:
        """Queues rows; the future gives `Done`, and cancelling it drops what has not run.

        Args:
            deadline: on `time.monotonic`'s clock; rows that have not begun by then are dropped.
            owner: whose turn it takes.
            share: of the bound that this owner may hold; None = the scheduler's.

        Raises:
            QueueFull: the queue, or the owner's share of it, is full; or the deadline could be met later, not now.
            DeadlineExceeded: the rows alone take longer than the time there is.
            SchedulerClosed: after `close`.
        """
        now = time.monotonic()
        ticket = _Ticket(engine, owner, deadline, now, [{} for _ in rows], len(rows), sum(map(len, rows)))
        if not rows:
            ticket.future.set_result(Done([], 0.0, 0.0, 0, 0))
            return ticket.future
        costs = [engine.cost.of(1, len(row)) for row in rows]
        own_ms = sum(costs)
        with self._changed:
            self._admit(ticket, own_ms, max(costs), now, self.share if share is None else share)
            number = self._number
            self._number += len(rows)
            queue = self._rows.setdefault(engine, [])
            ticket.waiting.extend(
                sorted(
                    (
                        _Row(ticket, index, row, ms, (len(row), number + index))
                        for index, (row, ms) in enumerate(zip(rows, costs, strict=True))
                    ),
                    key=_key,
                )
            )
            for row in ticket.waiting:
                insort(queue, row, key=_key)
            if ticket.waiting[0].length <= SHORT:
                self._last_short = now
            ticket.waiting_ms, ticket.row_ms = own_ms, max(costs)
            self._waiting_ms += own_ms
            self._held[owner] = self._held.get(owner, 0.0) + own_ms
            self._owners.setdefault(owner, deque()).append(ticket)
            self._in_house += 1
            if self._in_house > 1:
                self._last_company = now
            ticket.future.add_done_callback(lambda future: self._left(ticket))
            self._changed.notify(min(len(rows), len(self._lanes)))
        return ticket.future

    def close(self, seconds: float = 0.0) -> None:
        """Takes nothing more; waits up to `seconds` for what is here, then drops it and ends the lanes."""
        end = time.monotonic() + seconds
        with self._changed:
            self._closed = True
            while self._in_house and time.monotonic() < end:
                self._changed.wait(end - time.monotonic())
            left = [ticket for tickets in self._owners.values() for ticket in tickets]
            self._changed.notify_all()
        for ticket in left:
            _fail(ticket, SchedulerClosed("the server has stopped"))
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()) + 1.0)

    def _admit(self, ticket: _Ticket, own_ms: float, row_ms: float, now: float, share: float) -> None:
        """Raises what `submit` raises."""
        lanes = len(self._lanes)
        self._check_room(ticket.owner, share)
        # Only a call corrects a pace that slow times have left: whoever comes alone may make one.
        pace = self._pace.value if self._in_house else min(self._pace.value, 1.0)
        seconds = ticket.deadline - now
        alone = max(row_ms, own_ms / lanes) * pace / 1000
        if alone > seconds:
            raise DeadlineExceeded(
                f"the request takes about {alone * 1000:.0f} ms and has {max(seconds, 0) * 1000:.0f} ms",
                param="X-Timeout-Ms",
                limit=round(max(seconds, 0) * 1000),
                given=round(alone * 1000),
            )
        if seconds == float("inf"):
            return
        # Turns go round: until this ticket is done, any other gets about as much as it, and a row at least.
        running = sum(max(0.0, lane.expected * pace - (now - lane.since) * 1000) for lane in self._lanes if lane.since)
        before = sum(min(t.waiting_ms, max(own_ms, t.row_ms)) for tickets in self._owners.values() for t in tickets)
        wait = (running + before * pace) / lanes / 1000
        if wait + alone > seconds:
            raise QueueFull(
                f"the request would wait about {wait:.2f} s and takes {alone:.2f} s; it has {seconds:.2f} s",
                retry_after=wait,
                limit=round(seconds * 1000),
                given=round((wait + alone) * 1000),
            )

    def _check_room(self, owner: str, share: float) -> None:
        """Raises where the queue is full; a ticket goes in whole, however large, where there is any room."""
        if self._closed:
            raise SchedulerClosed("the server is stopping")
        per_lane = self._pace.value / len(self._lanes)
        own_limit = self.limit_ms * share
        # What an owner holds over its share holds up nobody but itself, so it does not count against the others.
        total = sum(min(ms * per_lane, own_limit) for ms in self._held.values())
        own = self._held.get(owner, 0.0) * per_lane
        for waiting, limit, whose in ((own, own_limit, "your part of the queue"), (total, self.limit_ms, "the queue")):
            if waiting >= limit:
                raise QueueFull(
                    f"{whose} holds {waiting:.0f} ms of work; the limit is {limit:.0f}",
                    retry_after=max(waiting - limit, 100.0) / 1000,
                    limit=round(limit),
                    given=round(waiting),
                )

    def _left(self, ticket: _Ticket) -> None:
        """A ticket is done, failed or was cancelled: what still waits of it goes."""
        if ticket.future.cancelled():
            ticket.future.set_running_or_notify_cancel()  # else `concurrent.futures.wait` would wait for ever
        with self._changed:
            while ticket.waiting:
                self._take_row(ticket.waiting[0])
            self._in_house -= 1
            if self._closed or not self._in_house:
                self._changed.notify_all()

    def _serve(self, lane: _Lane) -> None:
        if self._gives_way:
            give_way()
        while True:
            with self._changed:
                late, batch = self._drop_late(), None
                if not late and (batch := self._take(lane)) is None:
                    if self._closed and not self._in_house:
                        return
                    # Only a reserved lane with long rows waiting has to look again by itself.
                    self._changed.wait(RESERVED / 4 if self._owners else None)
            # Futures are settled without the lock: whoever waits for one may do anything then.
            for ticket in late:
                _fail(
                    ticket, DeadlineExceeded("the deadline passed before the request could run", param="X-Timeout-Ms")
                )
            if batch is not None:
                self._serve_batch(*batch, lane)

    def _serve_batch(self, rows: Sequence[_Row], wide: bool, lane: _Lane) -> None:
        """`_run`; whatever that raises, the rows are answered and the lane goes on."""
        try:
            self._run(rows, wide, lane)
        except BaseException as error:
            logger.exception("a lane failed")
            for row in rows:
                _fail(row.ticket, RuntimeError(f"the lane failed: {error!r}"))
        finally:
            with self._changed:
                lane.since, lane.long = None, False

    def _take(self, lane: _Lane) -> tuple[list[_Row], bool] | None:
        """The rows of the next call, and whether it may use all cores; the lock is held."""
        now = time.monotonic()
        seed = self._next(now)
        if seed is None:
            return None
        free = sum(other.since is None for other in self._lanes)
        # Where other lanes are free too, what waits is divided among them.
        enough = self._waiting_ms / free * (1 - 1e-9)  # sums of floats drift
        limit = SHORT if self._reserved(now) else self.max_tokens
        rows = self._with_neighbours(seed, enough, limit)
        for row in rows:
            self._take_row(row)
            if not row.ticket.started:
                row.ticket.started = now
        engine, length = seed.ticket.engine, max(row.length for row in rows)
        lane.since, lane.long = now, length > SHORT
        wide = self._may_be_wide(engine, rows, length, now)
        cost = engine.wide_cost if wide else engine.cost
        lane.expected = cost.of(len(rows), length) if cost else 0.0
        return rows, wide

    def _drop_late(self) -> list[_Ticket]:
        """Out of the queues goes what can only be too late; the lock is held."""
        now = time.monotonic()
        late = [ticket for tickets in self._owners.values() for ticket in tickets if ticket.deadline < now]
        for ticket in late:
            while ticket.waiting:
                self._take_row(ticket.waiting[0])
        return late

    def _reserved(self, now: float) -> bool:
        """Long rows have to leave this lane to short ones."""
        if len(self._lanes) == 1 or now - self._last_short >= RESERVED:
            return False
        return sum(lane.long for lane in self._lanes) >= len(self._lanes) - 1

    def _next(self, now: float) -> _Row | None:
        """The row whose turn it is; turns move on."""
        reserved = self._reserved(now)
        for owner, tickets in self._owners.items():
            for ticket in tickets:
                row = ticket.waiting[0]
                if reserved and row.length > SHORT:
                    continue
                self._owners.move_to_end(owner)
                tickets.remove(ticket)
                tickets.append(ticket)
                return row
        return None

    def _with_neighbours(self, seed: _Row, enough: float, limit: int) -> list[_Row]:
        """`seed` and the rows nearest in length, while a joint call costs less than separate ones."""
        cost, queue = seed.ticket.engine.cost, self._rows[seed.ticket.engine]
        place = bisect_left(queue, seed.key, key=_key)
        shorter, longer = place - 1, place + 1
        rows, longest, total, apart = [seed], seed.length, seed.ms, seed.ms
        while apart < enough and (shorter >= 0 or longer < len(queue)):
            below = seed.length - queue[shorter].length if shorter >= 0 else float("inf")
            above = queue[longer].length - seed.length if longer < len(queue) else float("inf")
            row = queue[shorter] if below <= above else queue[longer]
            padded = max(longest, row.length)
            joint = cost.of(len(rows) + 1, padded)
            if row.length > limit or (len(rows) + 1) * padded > self.max_tokens or joint > total + row.ms:
                # Farther rows on this side only need more padding.
                shorter, longer = (-1, longer) if below <= above else (shorter, len(queue))
                continue
            rows.append(row)
            longest, total, apart = padded, joint, apart + row.ms
            shorter, longer = (shorter - 1, longer) if below <= above else (shorter, longer + 1)
        return rows

    def _take_row(self, row: _Row) -> None:
        """Out of the queues."""
        ticket, queue = row.ticket, self._rows[row.ticket.engine]
        del queue[bisect_left(queue, row.key, key=_key)]
        if not queue:
            del self._rows[ticket.engine]
        ticket.waiting.remove(row)
        ticket.waiting_ms -= row.ms
        self._waiting_ms -= row.ms
        self._held[ticket.owner] -= row.ms
        if not ticket.waiting:
            tickets = self._owners[ticket.owner]
            tickets.remove(ticket)
            if not tickets:
                del self._owners[ticket.owner], self._held[ticket.owner]
        if not self._owners:
            self._waiting_ms = 0.0  # sums of floats drift

    def _may_be_wide(self, engine: Engine, rows: Sequence[_Row], length: int, now: float) -> bool:
        if engine.wide is None or engine.wide_cost is None or self._owners or self.busy > 1:
            return False
        if now - self._last_company < COMPANY:
            return False
        wide = engine.wide_cost.of(len(rows), length) * self._wide_pace.value
        quicker = wide < engine.cost.of(len(rows), length) * self._pace.value
        self._lone += 1
        taken = quicker if self._lone % TRIAL else not quicker
        if not taken:
            self._wide_pace.fade()
        return taken

    def _run(self, rows: Sequence[_Row], wide: bool, lane: _Lane) -> None:
        """One call; where it fails, one call for each row, so that a row spoils no other."""
        engine = rows[0].ticket.engine
        call = engine.wide if wide and engine.wide else engine.call
        start = time.monotonic()
        outputs: list[Outputs | Exception]
        failed = False
        try:
            outputs = list(call([row.features for row in rows]))
            if len(outputs) != len(rows):
                raise RuntimeError(f"a call of {len(rows)} rows gave {len(outputs)} outputs")
        except Exception as error:  # noqa: BLE001  whatever a model raises is the answer to its rows
            failed = True
            outputs = [error if len(rows) == 1 else _alone(call, row) for row in rows]
        end = time.monotonic()
        padded = max(row.length for row in rows)
        finished: list[tuple[_Ticket, Exception | None]] = []
        with self._changed:
            if not failed:
                (self._wide_pace if wide else self._pace).add((end - start) * 1000, lane.expected)
            for row, output in zip(rows, outputs, strict=True):
                ticket = row.ticket
                ticket.padded += padded
                ticket.left -= 1
                if isinstance(output, Exception):
                    finished.append((ticket, output))
                    continue
                ticket.outputs[row.index] = output
                if not ticket.left:
                    finished.append((ticket, None))
        for ticket, failure in finished:
            if failure is not None:
                _fail(ticket, failure)
            else:
                _answer(ticket, end)
        if self._on_batch:
            self._on_batch(engine, len(rows), sum(row.length for row in rows), padded * len(rows))


def _alone(call: Caller, row: _Row) -> Outputs | Exception:
    try:
        return call([row.features])[0]
    except Exception as error:  # noqa: BLE001
        return error


def _answer(ticket: _Ticket, end: float) -> None:
    done = Done(
        ticket.outputs,
        (ticket.started - ticket.submitted) * 1000,
        (end - ticket.started) * 1000,
        ticket.tokens,
        ticket.padded,
    )
    with contextlib.suppress(InvalidStateError):  # cancelled
        ticket.future.set_result(done)


def _fail(ticket: _Ticket, error: Exception) -> None:
    with contextlib.suppress(InvalidStateError):
        ticket.future.set_exception(error)
