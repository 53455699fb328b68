"""Synchronize waits for every section that began before it, in every order tried."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from rcu.errors import GracePeriodInReader
from rcu.operation import Location
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.counters import Callback
from rcu.srcu.domain import SrcuDomain
from rcu.tracepoints import (
    GracePeriodEnded,
    GracePeriodStarted,
    IndexFlipped,
    RankScanned,
    SynchronizeBegan,
    SynchronizeEnded,
)
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order, in_random_orders
from tests.support.grace_periods import verdict
from tests.support.running import Build, Run, run_controlled
from tests.support.srcu_programs import sections_against_grace_periods


@pytest.mark.parametrize(
    ("grace_periods", "expedited", "orders"),
    [
        (1, True, 576),
        (1, False, 681),
        pytest.param(2, True, 2952, marks=pytest.mark.slow),
    ],
)
async def test_no_order_makes_a_grace_period_too_short(
    pool: TaskPool, grace_periods: int, orders: int, *, expedited: bool
) -> None:
    build = sections_against_grace_periods(
        grace_periods=grace_periods, expedited=expedited
    )
    assert await in_every_order(pool, build, verdict) == Counter({"completed": orders})


@pytest.mark.slow
async def test_no_order_makes_it_too_short_for_two_processors(pool: TaskPool) -> None:
    build = sections_against_grace_periods()
    found = await in_every_order(pool, build, verdict, cpus=2)
    assert found == Counter({"completed": 2592})


@pytest.mark.slow
async def test_no_order_with_two_preemptions_makes_it_too_short_for_two_sections(
    pool: TaskPool,
) -> None:
    build = sections_against_grace_periods(sections=2, grace_periods=2)
    found = await in_every_order(pool, build, verdict, preemptions=2)
    assert list(found) == ["completed"]


def migrating(scheduler: Scheduler) -> None:
    """Three readers that nest and change processors, two updaters."""
    domain = SrcuDomain(scheduler, "srcu")
    pointer = Location("pointer")

    async def read(turn: int) -> None:
        task = scheduler.current
        for _ in range(3):
            outer = await domain.read_lock()
            task.cpu = (task.cpu + turn) % scheduler.cpus
            inner = await domain.read_lock()
            await scheduler.point(pointer.read)
            await domain.read_unlock(inner)
            task.cpu = (task.cpu + 1) % scheduler.cpus
            await domain.read_unlock(outer)

    async def update(*, expedited: bool) -> None:
        for _ in range(2):
            await scheduler.point(pointer.write)
            if expedited:
                await domain.synchronize_expedited()
            else:
                await domain.synchronize()

    for index in range(3):
        scheduler.task(f"reader{index}", partial(read, index % 2))
    scheduler.task("updater", partial(update, expedited=True))
    scheduler.task("slow updater", partial(update, expedited=False))


@pytest.mark.slow
async def test_readers_that_migrate_are_waited_for(pool: TaskPool) -> None:
    found = await in_random_orders(pool, migrating, verdict, range(400), cpus=2)
    assert found == Counter({"completed": 400})


async def test_a_grace_period_scans_flips_and_scans(pool: TaskPool) -> None:
    run = await run_controlled(
        pool, RoundRobin(), sections_against_grace_periods(readers=0)
    )
    assert run.steps == (
        "updater: write pointer",
        "updater: queue on srcu callbacks of CPU 0, srcu gp_seq",
        "updater: write srcu gp_seq_needed",
        "srcu-gp: wait for work srcu gp_seq_needed, srcu gp_seq",
        "srcu-gp: write srcu gp_seq, srcu gp_seq_needed",
        "srcu-gp: read srcu unlock_count[1] of CPU 0",
        "srcu-gp: read srcu lock_count[1] of CPU 0",
        "srcu-gp: write srcu srcu_idx",
        "srcu-gp: write srcu gp_seq, srcu gp_seq_needed",
        "srcu-gp: read srcu unlock_count[0] of CPU 0",
        "srcu-gp: read srcu lock_count[0] of CPU 0",
        "srcu-gp: write srcu gp_seq",
        "srcu-gp: read srcu callbacks of CPU 0",
        "srcu-gp: invoke srcu callbacks of CPU 0, synchronize of updater",
        "updater: wait for synchronize of updater",
    )
    assert [event for _, _, event in run.told if "allback" not in event] == [
        repr(event)
        for event in (
            SynchronizeBegan("srcu", expedited=True),
            GracePeriodStarted("srcu", 1),
            RankScanned("srcu", 1),
            IndexFlipped("srcu", 1),
            RankScanned("srcu", 0),
            GracePeriodEnded("srcu", 4),
            SynchronizeEnded("srcu"),
        )
    ]


async def test_all_unlock_counters_are_read_before_any_lock_counter(
    pool: TaskPool,
) -> None:
    run = await run_controlled(
        pool, RoundRobin(), sections_against_grace_periods(readers=0), cpus=3
    )
    reads = [
        step.removeprefix("srcu-gp: read srcu ").split("[")[0]
        for step in run.steps
        if step.startswith("srcu-gp: read") and "_count" in step
    ]
    assert reads == [*["unlock_count"] * 3, *["lock_count"] * 3] * 2


DELAY = "srcu-gp: let a jiffy pass"


def updaters(*calls: str) -> Build[SrcuDomain]:
    """One task for each call of the domain's method of that name."""

    def build(scheduler: Scheduler) -> SrcuDomain:
        domain = SrcuDomain(scheduler, "srcu")

        async def call(method: str) -> None:
            if method == "call":
                await domain.call(Callback("callback", lambda: None))
            else:
                await getattr(domain, method)()

        for index, method in enumerate(calls):
            scheduler.task(f"{method}{index}", partial(call, method))
        return domain

    return build


@pytest.mark.parametrize(
    ("calls", "delays"),
    [
        (["call"], 2),
        (["start_poll"], 2),
        (["synchronize_expedited"], 0),
        (["synchronize"], 0),  # nothing was going on: expedited by itself
    ],
)
async def test_only_a_normal_grace_period_lets_time_pass(
    pool: TaskPool, calls: list[str], delays: int
) -> None:
    found = await in_every_order(
        pool, updaters(*calls), lambda run: run.steps.count(DELAY)
    )
    assert list(found) == [delays]


async def test_an_expedited_call_hastens_what_is_queued(pool: TaskPool) -> None:
    found = await in_every_order(
        pool,
        updaters("call", "synchronize_expedited"),
        lambda run: (run.made.gp_seq, run.steps.count(DELAY)),
        preemptions=2,
    )
    # One grace period for both, or a second one that lets no time pass either. How
    # many of the first one's two delays are saved depends on when the call comes.
    assert set(found) == {(4, 0), (4, 1), (4, 2), (8, 1), (8, 2)}


async def test_synchronize_is_expedited_if_nothing_is_going_on(
    pool: TaskPool,
) -> None:
    def expedited(run: Run[SrcuDomain]) -> tuple[bool, ...]:
        events = [event for _, _, event in run.records]
        return tuple(
            event.expedited for event in events if isinstance(event, SynchronizeBegan)
        )

    alone = await in_every_order(pool, updaters("synchronize"), expedited)
    assert list(alone) == [(True,)]
    busy = await in_every_order(
        pool, updaters("call", "synchronize"), expedited, preemptions=2
    )
    assert set(busy) == {(True,), (False,)}


async def test_a_domain_is_idle_again_behind_each_grace_period(pool: TaskPool) -> None:
    run = await run_controlled(
        pool,
        RoundRobin(),
        sections_against_grace_periods(readers=0, grace_periods=4, expedited=False),
    )
    events = [event for _, _, event in run.records]
    began = [event for event in events if isinstance(event, SynchronizeBegan)]
    assert [event.expedited for event in began] == [True] * 4
    assert run.made.gp_seq == 16


async def test_a_scan_that_fails_needs_those_who_are_inside(pool: TaskPool) -> None:
    needed: list[list[list[object]]] = []

    def build(scheduler: Scheduler) -> None:
        domain, other = SrcuDomain(scheduler, "srcu"), SrcuDomain(scheduler, "other")

        def look() -> None:
            needs = [rescan.needs for rescan in domain._rescan]
            needed.append([list(need()) for need in needs if need is not None])

        async def read() -> None:
            look()
            async with other.reading(), domain.reading():
                look()
            look()
            domain.srcu_idx += 1
            async with domain.reading():
                look()

        reader = scheduler.task("reader", read)
        expected.extend([[[], []], [[reader], []], [[], []], [[], [reader]]])

    expected: list[list[list[object]]] = []
    await run_controlled(pool, RoundRobin(), build)
    assert needed == expected


def test_a_scan_that_fails_is_made_again_when_a_counter_of_its_rank_changes() -> None:
    domain = SrcuDomain(ControlledScheduler(RoundRobin(), cpus=2), "srcu")
    for rank, rescan in enumerate(domain._rescan):
        assert rescan.verb == "wait to rescan"
        assert [location.name for location in rescan.reads] == [
            "srcu gp_seq_needed",
            f"srcu unlock_count[{rank}] of CPU 0",
            f"srcu lock_count[{rank}] of CPU 0",
            f"srcu unlock_count[{rank}] of CPU 1",
            f"srcu lock_count[{rank}] of CPU 1",
        ]


async def test_the_low_bits_say_which_scan_is_made(pool: TaskPool) -> None:
    seen: list[tuple[int, int]] = []

    class Watched(SrcuDomain):
        async def scan(self, rank: int) -> None:
            seen.append((rank, self.gp_seq))
            await super().scan(rank)

    build = sections_against_grace_periods(Watched, readers=0, grace_periods=2)
    await run_controlled(pool, RoundRobin(), build)
    assert seen == [(1, 0 | 1), (0, 0 | 2), (0, 4 | 1), (1, 4 | 2)]


def test_counters_are_balanced_if_their_sums_are_equal() -> None:
    domain = SrcuDomain(ControlledScheduler(RoundRobin(), cpus=2), "srcu")
    assert domain.balanced((1, 3), (4, 0))
    assert not domain.balanced((1, 2), (4, 0))
    assert not domain.balanced((1, 4), (4, 0))


def test_a_domain_is_idle_without_grace_period_and_callbacks() -> None:
    domain = SrcuDomain(ControlledScheduler(RoundRobin(), cpus=2), "srcu")
    for gp_seq, idle in ((0, True), (4, True), (5, False), (6, False), (8, True)):
        domain.gp_seq = gp_seq
        assert domain._is_idle() is idle
    domain.cpus[1].callbacks.append(Callback("free", lambda: None))
    assert not domain._is_idle()


def test_nobody_waits_for_a_new_domain() -> None:
    domain = SrcuDomain(ControlledScheduler(RoundRobin(), cpus=3), "srcu")
    assert (domain.srcu_idx, domain.gp_seq) == (0, 0)
    assert (domain.gp_seq_needed, domain.gp_seq_needed_exp) == (0, 0)
    assert len(domain.cpus) == 3
    assert (domain.worker.cpu, domain.worker.daemon) == (0, True)


async def test_two_updaters_share_a_grace_period_or_make_two(pool: TaskPool) -> None:
    found = await in_every_order(
        pool,
        updaters("synchronize_expedited", "synchronize_expedited"),
        lambda run: (run.report.ending, run.made.gp_seq, run.made.srcu_idx),
        preemptions=2,
    )
    assert set(found) == {(Ending.COMPLETED, 4, 1), (Ending.COMPLETED, 8, 2)}


async def test_after_its_runs_the_domain_is_idle_again(pool: TaskPool) -> None:
    found = await in_random_orders(
        pool,
        updaters("synchronize", "call", "barrier", "synchronize_expedited"),
        lambda run: run.made.cleanup(),
        range(100),
        cpus=2,
    )
    assert found == Counter({None: 100})


@pytest.mark.parametrize(
    "method", ["synchronize", "synchronize_expedited", "barrier", "wait_for"]
)
async def test_waiting_inside_the_own_section_is_a_finding(
    pool: TaskPool, method: str
) -> None:
    def build(scheduler: Scheduler) -> None:
        domain = SrcuDomain(scheduler, "srcu")

        async def body() -> None:
            async with domain.reading():
                await getattr(domain, method)(*[4] * (method == "wait_for"))

        scheduler.task("a", body)

    run = await run_controlled(pool, RoundRobin(), build)
    assert isinstance(run.report.error, GracePeriodInReader)
    assert run.report.steps == 2  # to enter the section, and no further
    name = {"synchronize_expedited": "synchronize", "wait_for": "wait for a cookie"}
    assert str(run.report.error) == (
        f"a calls {name.get(method, method)} of srcu inside one of its read sections:"
        " it waits for itself"
    )


async def test_waiting_inside_a_section_of_another_domain_is_fine(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> None:
        domain = SrcuDomain(scheduler, "srcu")
        other = SrcuDomain(scheduler, "irq_srcu")

        async def body() -> None:
            async with other.reading():
                await domain.synchronize()

        scheduler.task("a", body)

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.report.ending is Ending.COMPLETED


async def test_two_domains_that_wait_for_each_other_deadlock(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        left, right = SrcuDomain(scheduler, "left"), SrcuDomain(scheduler, "right")

        async def body(mine: SrcuDomain, theirs: SrcuDomain) -> None:
            async with mine.reading():
                await theirs.synchronize()

        scheduler.task("a", partial(body, left, right))
        scheduler.task("b", partial(body, right, left))

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.report.ending is Ending.DEADLOCK
    assert [str(stuck) for stuck in run.report.stuck] == [
        "a waits to wait for synchronize of a, inside a read section of left",
        "b waits to wait for synchronize of b, inside a read section of right",
    ]
