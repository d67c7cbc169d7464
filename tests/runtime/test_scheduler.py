"""Lanes: who runs when and with whom, who is refused, and that nothing is ever lost.

Calls of the fake models wait until the test lets go.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystilts.formats import Features
from polystilts.formats.values import Outputs, PairExample, SentenceExample, SpanExample, TaggingExample
from polystilts.runtime import scheduler as module
from polystilts.runtime.cost import CallCost
from polystilts.runtime.pool import Pool
from polystilts.runtime.scheduler import (
    COMPANY,
    RESERVED,
    STUCK,
    TRIAL,
    DeadlineExceeded,
    Done,
    Engine,
    QueueFull,
    Scheduler,
    SchedulerClosed,
    _Pace,
)
from tests.world.bundles import TEXTS, tiny_bundle

#: No test should need it.
PATIENCE = 30.0

#: As measured on a real model: milliseconds.
MEASURED = CallCost(4.2, 0.25, 0.0003)

#: Plain sums: ten milliseconds a token. Schedulers of such a model join no rows.
TEN = CallCost(0.0, 10.0)


def row(length: int = 1, tag: int = 0) -> Features:
    return Features(np.full(length, tag, dtype=np.int64))


def answer_to(features: Features) -> Outputs:
    return {"sum": features.input_ids.sum()}


@dataclass(eq=False)
class Call:
    """A call of a model that has begun."""

    lengths: list[int]
    tags: list[int]
    wide: bool
    go: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def end(self, error: BaseException | None = None) -> None:
        self.error = error
        self.go.set()


class Model:
    """Its calls begin, are seen by the test, and wait for `Call.end`."""

    def __init__(self, cost: CallCost = MEASURED, wide_cost: CallCost | None = None) -> None:
        self.begun: queue.Queue[Call] = queue.Queue()
        self.calls: list[Call] = []
        self.free = False
        wide = (lambda rows: self._call(rows, True)) if wide_cost else None
        self.engine = Engine(lambda rows: self._call(rows, False), cost, wide, wide_cost, name="model")

    def _call(self, rows: Sequence[Features], wide: bool) -> list[Outputs]:
        call = Call([len(r) for r in rows], [int(r.input_ids[0]) for r in rows], wide)
        self.calls.append(call)
        self.begun.put(call)
        if not self.free:
            assert call.go.wait(PATIENCE)
        if call.error is not None:
            raise call.error
        return [answer_to(r) for r in rows]

    def next(self) -> Call:
        """The next call that begins."""
        return self.begun.get(timeout=PATIENCE)

    def release(self) -> None:
        """From now on no call waits."""
        self.free = True
        for call in self.calls:
            call.go.set()


class Clock:
    """The scheduler's clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


Make = Callable[..., Scheduler]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Scheduler, Model | None]] = []

    def build(lanes: int = 1, model: Model | None = None, **options: Any) -> Scheduler:
        if model and model.engine.cost is TEN:
            options["max_tokens"] = 1
        scheduler = Scheduler(lanes, **options)
        made.append((scheduler, model))
        return scheduler

    yield build
    for scheduler, model in made:
        if model:
            model.release()
        scheduler.close(PATIENCE)
        assert not any(thread.is_alive() for thread in scheduler._threads)
        assert_empty(scheduler)


def assert_empty(scheduler: Scheduler) -> None:
    assert scheduler._in_house == 0
    assert (scheduler._owners, scheduler._held, scheduler._rows) == ({}, {}, {})
    assert scheduler.queue_ms == 0.0 and scheduler.busy == 0 and not scheduler.stuck


def result(future: Future[Done]) -> Done:
    return future.result(PATIENCE)


def occupy(scheduler: Scheduler, model: Model, length: int = 1) -> Call:
    """A call that keeps one lane."""
    scheduler.submit(model.engine, [row(length, -1)], owner="occupies")
    return model.next()


# Joining


def test_outputs_stand_in_the_order_given(make: Make) -> None:
    model = Model()
    scheduler = make(2, model)
    model.release()
    rows = [row(length, tag) for tag, length in enumerate((50, 3, 200, 3, 300, 1))]
    done = result(scheduler.submit(model.engine, rows))
    assert [output["sum"] for output in done.outputs] == [answer_to(r)["sum"] for r in rows]
    assert done.tokens == 557 and done.padded >= done.tokens
    assert done.queue_ms >= 0 and done.run_ms >= 0


def test_no_rows_are_answered_at_once(make: Make) -> None:
    assert result(make().submit(Model().engine, [])) == Done([], 0.0, 0.0, 0, 0)


def test_a_lone_row_waits_for_no_company(make: Make) -> None:
    model = Model()
    make(1, model).submit(model.engine, [row(5)])
    assert model.next().lengths == [5]


def test_rows_near_in_length_join_and_far_ones_do_not(make: Make) -> None:
    model = Model()
    scheduler = make(1, model)
    blocker = occupy(scheduler, model)
    for tag, length in enumerate((20, 90, 22, 21, 200)):
        scheduler.submit(model.engine, [row(length, tag)], owner=str(tag))
    blocker.end()
    # 20 with 21 and 22 saves two calls of 4.2 ms for 3 padded tokens; 90 would cost 210 more tokens.
    first = model.next()
    assert sorted(first.lengths) == [20, 21, 22]
    first.end()
    second = model.next()
    assert second.lengths == [90]
    second.end()
    assert model.next().lengths == [200]


def test_joining_stops_where_it_costs_more(make: Make) -> None:
    """Padding 20 to 40 costs 5 ms and saves 4.2."""
    model = Model(CallCost(4.2, 0.25))
    scheduler = make(1, model)
    blocker = occupy(scheduler, model)
    scheduler.submit(model.engine, [row(20)])
    scheduler.submit(model.engine, [row(40)])
    blocker.end()
    assert model.next().lengths == [20]


def test_models_do_not_mix(make: Make) -> None:
    one, other = Model(), Model()
    scheduler = make(1, one)
    blocker = occupy(scheduler, one)
    other.free = True
    futures = [scheduler.submit(model.engine, [row(20)], owner=str(i)) for i, model in enumerate((one, other, one))]
    blocker.end()
    assert one.next().lengths == [20, 20]
    one.release()
    for future in futures:
        result(future)
    assert other.next().lengths == [20]


@pytest.mark.parametrize("limit", [64, 256])
def test_a_call_stays_within_max_tokens(make: Make, limit: int) -> None:
    model = Model(CallCost(4.2, 0.0001))  # joining always pays
    scheduler = make(1, model, max_tokens=limit, limit_ms=1e9)
    blocker = occupy(scheduler, model)
    random_ = random.Random(0)
    lengths = [random_.randint(1, 2 * limit) for _ in range(200)]
    future = scheduler.submit(model.engine, [row(length) for length in lengths])
    blocker.end()
    seen: list[int] = []
    while len(seen) < len(lengths):
        call = model.next()
        assert len(call.lengths) * max(call.lengths) <= limit or len(call.lengths) == 1
        seen += call.lengths
        call.end()
    assert sorted(seen) == sorted(lengths)
    assert result(future).tokens == sum(lengths)


def test_what_waits_is_divided_among_free_lanes(make: Make) -> None:
    model = Model()
    scheduler = make(4, model)
    scheduler.submit(model.engine, [row(10)] * 8)
    assert [len(model.next().lengths) for _ in range(4)] == [2, 2, 2, 2]


def test_a_busy_lane_takes_no_part(make: Make) -> None:
    model = Model()
    scheduler = make(2, model)
    occupy(scheduler, model)
    scheduler.submit(model.engine, [row(10)] * 8)
    assert len(model.next().lengths) == 8


# Turns


def test_a_long_list_does_not_hold_up_a_single_row(make: Make) -> None:
    model = Model(TEN)
    scheduler = make(1, model)
    big = scheduler.submit(model.engine, [row(2, 1)] * 4000, owner="a", share=1.0)
    model.next().end()
    single = scheduler.submit(model.engine, [row(1, 2)], owner="b")
    tags: list[int] = []
    while 2 not in tags:
        call = model.next()
        tags += call.tags
        call.end()
    assert len(tags) <= 3, "the call that ran, one turn of the list's, then the single row"
    result(single)
    big.cancel()


def test_turns_go_round_the_tickets_of_an_owner(make: Make) -> None:
    model = Model(TEN)
    scheduler = make(1, model, limit_ms=1e9)
    blocker = occupy(scheduler, model)
    for tag in (1, 2, 3):
        scheduler.submit(model.engine, [row(1, tag)] * 3, owner="a")
    blocker.end()
    tags = []
    for _ in range(9):
        call = model.next()
        tags += call.tags
        call.end()
    assert tags == [1, 2, 3] * 3


def test_turns_go_round_owners_whatever_they_sent(make: Make) -> None:
    model = Model(TEN)
    scheduler = make(1, model, limit_ms=1e9)
    blocker = occupy(scheduler, model)
    for _ in range(5):
        scheduler.submit(model.engine, [row(1, 1)], owner="busy")
    for _ in range(2):
        scheduler.submit(model.engine, [row(1, 2)], owner="calm")
    blocker.end()
    tags = []
    for _ in range(7):
        call = model.next()
        tags += call.tags
        call.end()
    assert tags == [1, 2, 1, 2, 1, 1, 1]


# The reserved lane


def test_long_rows_leave_a_lane_to_short_ones(make: Make, clock: Clock) -> None:
    model = Model()
    scheduler = make(2, model, limit_ms=1e9)
    short = scheduler.submit(model.engine, [row(10)])
    model.next().end()
    result(short)
    scheduler.submit(model.engine, [row(400)], owner="documents")
    long = model.next()
    waiting = scheduler.submit(model.engine, [row(300)], owner="documents")
    scheduler.submit(model.engine, [row(20)], owner="documents")
    # Without the rule the lane would take the older 300 first.
    assert model.next().lengths == [20]
    clock.now += RESERVED
    assert not waiting.done() and model.begun.empty()
    scheduler.submit(model.engine, [row(128)], owner="x")  # short still: the rule begins anew
    long.end()  # a lane free of long rows: one may run again
    assert model.next().lengths in ([300], [128])


def test_the_reserve_ends_when_no_short_row_has_come(make: Make, clock: Clock) -> None:
    model = Model()
    scheduler = make(2, model, limit_ms=1e9)
    future = scheduler.submit(model.engine, [row(10)])
    model.next().end()
    result(future)
    occupy(scheduler, model, 400)
    scheduler.submit(model.engine, [row(300)])
    clock.now += RESERVED
    assert model.next().lengths == [300]


def test_a_short_call_takes_no_long_row_along_on_the_reserved_lane(make: Make, clock: Clock) -> None:
    model = Model(CallCost(1000.0, 0.01))  # joining always pays
    scheduler = make(3, model, limit_ms=1e9, max_tokens=4096)
    for _ in range(2):
        occupy(scheduler, model, 400)
    blocker = occupy(scheduler, model)
    scheduler.submit(model.engine, [row(129, 1)], owner="long")
    for length in (127, 128):
        scheduler.submit(model.engine, [row(length, 1)], owner="short")
    blocker.end()
    assert sorted(model.next().lengths) == [127, 128]


def test_documents_alone_use_every_lane(make: Make) -> None:
    model = Model()
    scheduler = make(3, model, limit_ms=1e9)
    scheduler.submit(model.engine, [row(400)] * 3)
    assert [model.next().lengths for _ in range(3)] == [[400]] * 3


def test_one_lane_is_never_reserved(make: Make, clock: Clock) -> None:
    model = Model()
    scheduler = make(1, model, limit_ms=1e9)
    blocker = occupy(scheduler, model)
    scheduler.submit(model.engine, [row(400)])
    blocker.end()
    assert model.next().lengths == [400]


# All cores

WIDE = CallCost(2.0, 0.15)


def test_a_lone_ticket_has_all_cores(make: Make) -> None:
    model = Model(wide_cost=WIDE)
    make(2, model).submit(model.engine, [row(10)])
    assert model.next().wide


def test_where_all_cores_are_slower_they_are_not_used(make: Make, clock: Clock) -> None:
    model = Model(wide_cost=CallCost(20.0, 0.15))
    scheduler = make(2, model)
    future = scheduler.submit(model.engine, [row(10)])
    call = model.next()
    assert not call.wide
    call.end()
    result(future)
    clock.now += RESERVED
    scheduler.submit(model.engine, [row(300)])
    assert model.next().wide, "its cost per token is lower"


def test_company_keeps_to_one_thread_each(make: Make, clock: Clock) -> None:
    model = Model(wide_cost=WIDE)
    scheduler = make(2, model)
    futures = [scheduler.submit(model.engine, [row(10)])]
    first = model.next()
    futures.append(scheduler.submit(model.engine, [row(10)]))
    second = model.next()
    assert first.wide and not second.wide
    first.end()
    second.end()
    wait(futures, PATIENCE)
    futures.append(scheduler.submit(model.engine, [row(10)]))
    third = model.next()
    assert not third.wide, "there was company a moment ago"
    third.end()
    result(futures[-1])
    clock.now += COMPANY
    scheduler.submit(model.engine, [row(10)])
    assert model.next().wide


def test_rows_of_one_ticket_are_company_too(make: Make) -> None:
    model = Model(wide_cost=WIDE)
    make(2, model).submit(model.engine, [row(200)] * 2)
    assert [model.next().wide for _ in range(2)] == [False, False]


def test_a_call_nobody_waits_for_is_company_too(make: Make) -> None:
    model = Model(wide_cost=WIDE)
    scheduler = make(2, model)
    gone = scheduler.submit(model.engine, [row(200)])
    model.next()
    assert gone.cancel()
    scheduler.submit(model.engine, [row(10)])
    assert not model.next().wide


def test_a_long_row_after_short_ones_takes_all_cores_if_nobody_is_there(make: Make) -> None:
    model = Model(wide_cost=WIDE)
    scheduler = make(2, model)
    short = scheduler.submit(model.engine, [row(10)])
    model.next().end()
    result(short)
    settle(scheduler)
    scheduler.submit(model.engine, [row(200)])
    assert model.next().wide


def test_now_and_then_the_other_way_is_tried(make: Make, clock: Clock) -> None:
    """Else a pace once learnt in bad times would never be corrected."""
    model = Model(wide_cost=WIDE)
    scheduler = make(2, model)
    ways = []
    for _ in range(2 * TRIAL):
        future = scheduler.submit(model.engine, [row(10)])
        call = model.next()
        ways.append(call.wide)
        clock.now += (WIDE if call.wide else MEASURED).of(1, 10) / 1000
        call.end()
        result(future)
        settle(scheduler)
    assert ways.count(False) == 2


def test_all_cores_are_taken_again_soon_after_bad_times(make: Make, clock: Clock) -> None:
    """With one lone call in `TRIAL` to correct it, a pace that kept all its past would take forty of them."""
    wide = CallCost(4.0, 0.2)
    model = Model(wide_cost=wide)
    scheduler = make(2, model)
    scheduler._wide_pace = _Pace(360.0, 240.0)
    ways = []
    for _ in range(7 * TRIAL - 1):
        future = scheduler.submit(model.engine, [row(10)])
        call = model.next()
        ways.append(call.wide)
        clock.now += (wide if call.wide else MEASURED).of(1, 10) / 1000
        call.end()
        result(future)
        settle(scheduler)
    assert ways[: TRIAL - 1] == [False] * (TRIAL - 1)
    assert ways[-10:] == [True] * 10


# Who is let in


def test_the_queue_is_bounded_by_milliseconds_and_fair_to_owners(make: Make, clock: Clock) -> None:
    model = Model(TEN)
    scheduler = make(1, model, limit_ms=100.0, share=0.5)
    occupy(scheduler, model)
    scheduler.submit(model.engine, [row()] * 4, owner="a")
    assert scheduler.queue_ms == 40.0
    scheduler.submit(model.engine, [row()] * 2, owner="a")  # goes in whole, because there is room for something
    assert scheduler.queue_ms == 60.0
    with pytest.raises(QueueFull, match=r"your part .* 60 ms .* the limit is 50") as refused:
        scheduler.submit(model.engine, [row()], owner="a")
    assert (refused.value.param, refused.value.limit, refused.value.given) == ("queue_ms", 50, 60)
    scheduler.submit(model.engine, [row()], owner="a", share=1.0)  # a key with a larger share
    scheduler.submit(model.engine, [row()] * 5, owner="b")
    with pytest.raises(QueueFull, match=r"the queue holds 100 ms"):
        scheduler.submit(model.engine, [row()], owner="c")


def test_check_refuses_before_any_work(make: Make) -> None:
    model = Model(TEN)
    scheduler = make(1, model, limit_ms=100.0, share=0.5)
    occupy(scheduler, model)
    scheduler.submit(model.engine, [row()] * 5, owner="a")
    with pytest.raises(QueueFull):
        scheduler.check("a")
    scheduler.check("a", share=1.0)
    scheduler.check("b")
    scheduler.submit(model.engine, [row()] * 4, owner="b")
    scheduler.check("c")
    scheduler.check("c", share=1.0)
    assert scheduler.queue_ms == 90.0, "checking takes no room"


def test_one_over_its_share_shuts_out_nobody(make: Make) -> None:
    model = Model(TEN)
    scheduler = make(1, model, limit_ms=100.0, share=0.5)
    occupy(scheduler, model)
    scheduler.submit(model.engine, [row()] * 1000, owner="a")  # large, but alone
    with pytest.raises(QueueFull) as refused:
        scheduler.submit(model.engine, [row()], owner="a")
    assert refused.value.retry_after > 9
    scheduler.submit(model.engine, [row()] * 4, owner="b")
    scheduler.submit(model.engine, [row()], owner="c")
    with pytest.raises(QueueFull):
        scheduler.submit(model.engine, [row()], owner="d")


def test_a_large_ticket_gets_in_beside_small_ones(make: Make) -> None:
    """What it holds over its share holds up nobody else, so it need not wait for an empty queue."""
    model = Model(TEN)
    scheduler = make(1, model, limit_ms=100.0, share=0.5)
    occupy(scheduler, model)
    scheduler.submit(model.engine, [row()] * 4, owner="small")
    scheduler.submit(model.engine, [row()] * 1000, owner="large")
    scheduler.submit(model.engine, [row()] * 1000, owner="small")
    with pytest.raises(QueueFull, match="your part"):
        scheduler.submit(model.engine, [row()], owner="small")


def test_lanes_share_the_bound(make: Make) -> None:
    model = Model(TEN)
    scheduler = make(4, model, limit_ms=100.0)
    for _ in range(4):
        occupy(scheduler, model)
    scheduler.submit(model.engine, [row()] * 16, owner="a")
    assert scheduler.queue_ms == 40.0


def test_a_deadline_that_cannot_be_met_is_refused_at_once(make: Make, clock: Clock) -> None:
    model = Model(TEN)
    scheduler = make(1, model)
    with pytest.raises(DeadlineExceeded, match=r"takes about 100 ms and has 50 ms") as refused:
        scheduler.submit(model.engine, [row()] * 10, deadline=clock.now + 0.05)
    assert (refused.value.limit, refused.value.given) == (50, 100)
    with pytest.raises(DeadlineExceeded):
        scheduler.submit(model.engine, [row()], deadline=clock.now - 1)
    assert_empty(scheduler)


def test_a_deadline_that_could_be_met_later_says_when(make: Make, clock: Clock) -> None:
    model = Model(TEN)
    scheduler = make(1, model, limit_ms=1e9)
    occupy(scheduler, model, 3)  # 30 ms
    scheduler.submit(model.engine, [row()] * 4, owner="a")  # 40 ms
    with pytest.raises(QueueFull, match=r"would wait about 0\.07 s and takes 0\.04 s; it has 0\.10 s") as refused:
        scheduler.submit(model.engine, [row()] * 4, owner="b", deadline=clock.now + 0.1)
    assert refused.value.retry_after == pytest.approx(0.07)
    scheduler.submit(model.engine, [row()] * 4, owner="b", deadline=clock.now + 0.12)
    # Turns go round: a single row need not wait for all of a longer ticket.
    scheduler.submit(model.engine, [row()], owner="c", deadline=clock.now + 0.07)


def test_the_pace_does_not_count_twice(make: Make, clock: Clock) -> None:
    """A running call takes its model's milliseconds at the present pace, as waiting ones do."""
    model = Model(TEN)
    scheduler = make(1, model, limit_ms=1e9)
    scheduler._pace = _Pace(400.0, 100.0)
    occupy(scheduler, model)  # 10 ms, 40 at this pace
    with pytest.raises(QueueFull) as refused:
        scheduler.submit(model.engine, [row()], deadline=clock.now + 0.07)
    assert refused.value.retry_after == pytest.approx(0.04)
    clock.now += 0.03
    scheduler.submit(model.engine, [row()], deadline=clock.now + 0.06)


def test_a_slow_pace_is_unlearned_though_every_deadline_is_short(make: Make, clock: Clock) -> None:
    """Calls of slow times must not shut out for ever whoever gives a short deadline: only calls correct the pace."""
    model = Model(TEN)
    scheduler = make(1, model)
    scheduler._pace = _Pace(1600.0, 100.0)
    model.release()
    for _ in range(60):
        result(scheduler.submit(model.engine, [row()], deadline=clock.now + 0.02))
        settle(scheduler)
    assert scheduler._pace.value < 1.5


def settle(scheduler: Scheduler) -> None:
    """Waits until the lanes have noted that their calls ended."""
    limit = time.monotonic() + PATIENCE
    while (scheduler.busy or scheduler._in_house) and time.monotonic() < limit:
        threading.Event().wait(0.0005)


def test_failed_calls_say_nothing_of_the_pace(make: Make, clock: Clock) -> None:
    model = Model(TEN)
    scheduler = make(1, model)
    for _ in range(5):
        future = scheduler.submit(model.engine, [row()])
        model.next().end(ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            result(future)
    assert scheduler._pace == _Pace()


def test_a_machine_that_slept_is_as_quick_as_before_soon_after(make: Make, clock: Clock) -> None:
    model = Model(TEN)
    scheduler = make(1, model)
    future = scheduler.submit(model.engine, [row()])
    call = model.next()
    clock.now += 3600
    call.end()
    result(future)
    settle(scheduler)
    assert 1 < scheduler._pace.value < 4
    model.release()
    for _ in range(50):
        result(scheduler.submit(model.engine, [row()]))
    settle(scheduler)
    assert scheduler._pace.value < 1


# Time passes, clients go, models fail


def test_a_deadline_that_passes_in_the_queue_drops_the_work(make: Make, clock: Clock) -> None:
    model = Model(TEN)
    scheduler = make(1, model)
    blocker = occupy(scheduler, model)
    late = scheduler.submit(model.engine, [row(1, 1)] * 3, deadline=clock.now + 1, owner="late")
    kept = scheduler.submit(model.engine, [row(1, 2)], deadline=clock.now + 3, owner="kept")
    clock.now += 2
    blocker.end()
    call = model.next()
    assert call.tags == [2]
    with pytest.raises(DeadlineExceeded):
        result(late)
    call.end()
    result(kept)


def test_who_waits_for_a_late_answer_may_use_the_scheduler(make: Make, clock: Clock) -> None:
    """Futures are settled without the lock: a callback that waits for another thread of ours blocks nothing."""
    model = Model(TEN)
    scheduler = make(1, model)
    blocker = occupy(scheduler, model)
    late = scheduler.submit(model.engine, [row()], deadline=clock.now + 1)
    asked = threading.Event()

    def callback(future: Future[Done]) -> None:
        thread = threading.Thread(target=lambda: (scheduler.check("x"), asked.set()), daemon=True)
        thread.start()
        thread.join(PATIENCE / 3)

    late.add_done_callback(callback)
    clock.now += 2
    blocker.end()
    assert asked.wait(PATIENCE / 6)


def test_cancelling_drops_what_waits_and_frees_its_room(make: Make) -> None:
    model = Model(TEN)
    scheduler = make(1, model, limit_ms=100.0)
    blocker = occupy(scheduler, model)
    gone = scheduler.submit(model.engine, [row(1, 1)] * 5, owner="a")
    with pytest.raises(QueueFull):
        scheduler.submit(model.engine, [row()], owner="a")
    assert gone.cancel()
    assert scheduler.queue_ms == 0.0
    kept = scheduler.submit(model.engine, [row(1, 2)], owner="a")
    blocker.end()
    call = model.next()
    assert call.tags == [2]
    call.end()
    result(kept)


def test_cancelling_what_runs_drops_the_rest(make: Make) -> None:
    model = Model(TEN)
    scheduler = make(1, model)
    future = scheduler.submit(model.engine, [row()] * 5)
    call = model.next()
    assert future.cancel()
    call.end()
    after = scheduler.submit(model.engine, [row(1, 9)])
    call = model.next()
    assert call.tags == [9]
    call.end()
    result(after)


def test_waiting_for_cancelled_work_ends(make: Make) -> None:
    """`concurrent.futures.wait` counts a cancelled future only once its executor has said so."""
    model = Model(TEN)
    scheduler = make(1, model)
    occupy(scheduler, model)
    future = scheduler.submit(model.engine, [row()])
    future.cancel()
    done, rest = wait([future], timeout=PATIENCE)
    assert done == {future} and not rest
    with pytest.raises(CancelledError):
        result(future)


class Picky(Model):
    """Raises for every call with a row of tag 13."""

    def _call(self, rows: Sequence[Features], wide: bool) -> list[Outputs]:
        outputs = super()._call(rows, wide)
        if any(r.input_ids[0] == 13 for r in rows):
            raise ValueError("thirteen")
        return outputs


def test_a_row_that_fails_spoils_no_other(make: Make) -> None:
    model = Picky()
    scheduler = make(1, model)
    blocker = occupy(scheduler, model)
    futures = {tag: scheduler.submit(model.engine, [row(20, tag)] * 2, owner=str(tag)) for tag in (1, 13, 2)}
    blocker.end()
    call = model.next()
    assert sorted(call.tags) == [1, 1, 2, 2, 13, 13]
    model.free = True
    call.end()
    for tag in (1, 2):
        assert [output["sum"] for output in result(futures[tag]).outputs] == [20 * tag] * 2
    with pytest.raises(ValueError, match="thirteen"):
        result(futures[13])


def test_a_failed_row_drops_the_rest_of_its_ticket(make: Make) -> None:
    model = Picky(TEN)
    scheduler = make(1, model)
    future = scheduler.submit(model.engine, [row(1, 13), *[row(2, 1)] * 50])
    model.free = True
    model.next().end()
    with pytest.raises(ValueError, match="thirteen"):
        result(future)
    settle(scheduler)
    assert model.begun.qsize() <= 1


@pytest.mark.parametrize("given", [0, 1, 3])
def test_a_model_that_miscounts_is_a_failure_of_its_rows(make: Make, given: int) -> None:
    scheduler = make(1)
    engine = Engine(lambda rows: [answer_to(rows[0])] * (given if len(rows) > 1 else min(given, 1)), MEASURED)
    future = scheduler.submit(engine, [row(1, 5), row(1, 6)])
    if given:  # alone each is answered rightly
        assert [output["sum"] for output in result(future).outputs] == [5, 6]
    else:
        with pytest.raises(IndexError):
            result(future)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(), MemoryError()])
def test_a_lane_outlives_whatever_a_model_raises(make: Make, error: BaseException) -> None:
    model = Model()
    scheduler = make(1, model)
    future = scheduler.submit(model.engine, [row()])
    model.next().end(error)
    with pytest.raises(Exception):  # noqa: B017  an Exception: a SystemExit would end who waits
        result(future)
    again = scheduler.submit(model.engine, [row()])
    model.next().end()
    result(again)


def test_a_lane_outlives_who_is_told_of_batches(make: Make) -> None:
    told: list[tuple[int, int, int]] = []

    def on_batch(engine: Engine, rows: int, needed: int, padded: int) -> None:
        told.append((rows, needed, padded))
        raise RuntimeError("cannot count")

    model = Model()
    scheduler = make(1, model, on_batch=on_batch)
    model.release()
    for _ in range(3):
        result(scheduler.submit(model.engine, [row(3), row(4)]))
    settle(scheduler)
    assert told == [(2, 7, 8)] * 3


def test_stuck_is_a_lane_that_does_not_come_back_while_rows_wait(make: Make, clock: Clock) -> None:
    model = Model(TEN)
    scheduler = make(2, model)
    call = occupy(scheduler, model)
    clock.now += STUCK + 1
    assert not scheduler.stuck, "nobody waits"
    occupy(scheduler, model)
    scheduler.submit(model.engine, [row()])
    assert scheduler.stuck
    call.end()
    model.next()
    assert not scheduler.stuck


# The end


def test_closing_finishes_what_is_here(make: Make) -> None:
    model = Model(TEN)
    scheduler = make(1, model)
    futures = [scheduler.submit(model.engine, [row()] * 2, owner=str(i)) for i in range(3)]
    call = model.next()
    closing = threading.Thread(target=scheduler.close, args=(PATIENCE,))
    closing.start()
    while not scheduler._closed:
        threading.Event().wait(0.001)
    with pytest.raises(SchedulerClosed):
        scheduler.submit(model.engine, [row()])
    with pytest.raises(SchedulerClosed):
        scheduler.check("a")
    model.free = True
    call.end()
    closing.join(PATIENCE)
    assert [len(result(future).outputs) for future in futures] == [2, 2, 2]


def test_closing_at_once_drops_what_waits_and_lets_the_running_call_end(make: Make) -> None:
    model = Model(TEN)
    scheduler = make(1, model)
    running = scheduler.submit(model.engine, [row()])
    call = model.next()
    waiting = scheduler.submit(model.engine, [row()])
    scheduler.close(0.0)
    with pytest.raises(SchedulerClosed):
        result(waiting)
    call.end()
    result(running)


def test_closing_twice_and_idle(make: Make) -> None:
    scheduler = make(4)
    scheduler.close()
    scheduler.close(1.0)


# Storms


@pytest.mark.parametrize(("seed", "lanes", "limit_ms"), [(0, 1, 1e9), (1, 2, 1e9), (2, 4, 400.0), (3, 3, 60.0)])
def test_nothing_is_lost_in_a_storm(make: Make, seed: int, lanes: int, limit_ms: float) -> None:
    """Eight threads submit, cancel, come too late and bring rows that fail; all is answered and all comes to zero."""
    batches: Counter[str] = Counter()
    wrong: list[list[int]] = []

    def call(rows: Sequence[Features]) -> list[Outputs]:
        lengths = [len(r) for r in rows]
        if MEASURED.of(len(rows), max(lengths)) > sum(MEASURED.of(1, length) for length in lengths) + 1e-6:
            wrong.append(lengths)
        if len(rows) * max(lengths) > 256 and len(rows) > 1:
            wrong.append(lengths)
        if any(r.input_ids[0] == 13 for r in rows):
            raise ValueError("thirteen")
        if random.random() < 0.2:
            time.sleep(0.0005)
        return [answer_to(r) for r in rows]

    def count(engine: Engine, rows: int, needed: int, padded: int) -> None:
        batches["rows"] += rows

    # Every engine is wide too, so that both ways are taken.
    engines = [Engine(call, MEASURED, call, WIDE, name=str(i)) for i in range(3)]
    scheduler = make(lanes, None, limit_ms=limit_ms, on_batch=count)

    def client(number: int) -> Counter[str]:
        chance = random.Random(100 * seed + number)
        seen: Counter[str] = Counter()
        held: list[tuple[list[Features], Future[Done]]] = []
        for _ in range(400):
            tag = 13 if chance.random() < 0.05 else chance.randint(1, 9)
            size = chance.choice((1, 1, 1, 2, 5, 20))
            rows = [row(chance.choice((3, 8, 20, 21, 60, 130, 300)), chance.choice((1, tag))) for _ in range(size)]
            deadline = time.monotonic() + chance.choice((0.0, 0.002, 0.05, 60.0, 60.0, float("inf")))
            try:
                future = scheduler.submit(
                    chance.choice(engines), rows, deadline=deadline, owner=chance.choice("abc") + str(number % 3)
                )
            except (QueueFull, DeadlineExceeded) as error:
                seen[error.code] += 1
                continue
            if chance.random() < 0.2:
                future.cancel()
            held.append((rows, future))
            if len(held) > 20:
                seen.update(check(*held.pop(chance.randrange(20))))
        for one in held:
            seen.update(check(*one))
        return seen

    def check(rows: list[Features], future: Future[Done]) -> Counter[str]:
        try:
            done = future.result(PATIENCE)
        except CancelledError:
            return Counter(cancelled=1)
        except DeadlineExceeded:
            return Counter(late=1)
        except ValueError:
            assert any(r.input_ids[0] == 13 for r in rows)
            return Counter(failed=1)
        assert [output["sum"] for output in done.outputs] == [answer_to(r)["sum"] for r in rows]
        assert not any(r.input_ids[0] == 13 for r in rows)
        assert done.tokens == sum(map(len, rows)) and done.padded >= done.tokens
        return Counter(answered=1)

    with ThreadPoolExecutor(8) as threads:
        seen = sum(threads.map(client, range(8)), Counter())
    assert seen.total() == 8 * 400
    assert seen["answered"] and seen["cancelled"] and seen["deadline"]
    assert not wrong, "a call that costs more than its rows alone, or has too many tokens"
    settle(scheduler)
    assert_empty(scheduler)
    assert all(thread.is_alive() for thread in scheduler._threads)


# A real model


@pytest.mark.parametrize("target", ["xnli", "udpos", "xquad", "tatoeba"])
def test_an_answer_does_not_depend_on_the_company(make: Make, tmp_path: Path, target: str) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", target)
    pool = Pool(wide_threads=2)
    held = pool.add(bundle.folder, bundle.digest)
    examples: dict[str, Callable[[str], Any]] = {
        "xnli": lambda text: PairExample("", "", text, TEXTS[0]),
        "udpos": lambda text: TaggingExample("", "", tuple(text.split())),
        "xquad": lambda text: SpanExample("", "", "Who?", text),
        "tatoeba": lambda text: SentenceExample("", "", text),
    }
    texts = [text[: len(text) * part // 3] for text in TEXTS for part in (1, 2, 3)] * 4
    with pool.lease(held) as model:
        scheduler = make(2, limit_ms=1e9)
        rows = [f for found in model.format.encode([examples[target](text) for text in texts]) for f in found]
        alone = [model.engine.call([features])[0] for features in rows]
        futures = [scheduler.submit(model.engine, rows, owner=str(i)) for i in range(3)]
        futures += [scheduler.submit(model.engine, [features], owner="single") for features in rows]
        together = [output for future in futures for output in result(future).outputs]
    for got, expected in zip(together, alone * 4, strict=True):
        assert got.keys() == expected.keys()
        for name in got:
            np.testing.assert_allclose(got[name], expected[name], atol=1e-5, rtol=0)
