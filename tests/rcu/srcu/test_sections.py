"""Read sections: which counters they change, how they nest, how not to leave them."""

from __future__ import annotations

from collections import Counter

import pytest

from rcu.errors import RuleBroken, WrongUnlock
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending, Report
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.domain import SrcuDomain
from rcu.tracepoints import SectionBegan, SectionEnded
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order
from tests.support.grace_periods import verdict
from tests.support.running import Run, run_controlled


def counts(domain: SrcuDomain) -> list[tuple[list[int], list[int]]]:
    """Lock and unlock counters of each processor, by rank."""
    return [(cpu.lock_count, cpu.unlock_count) for cpu in domain.cpus]


async def test_a_section_is_an_index_read_and_two_increments(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> SrcuDomain:
        domain = SrcuDomain(scheduler, "srcu")

        async def read() -> None:
            assert not domain.held()
            idx = await domain.read_lock()
            assert domain.held()
            await domain.read_unlock(idx)
            assert not domain.held()

        scheduler.task("reader", read)
        return domain

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.steps == (
        "reader: read srcu srcu_idx",
        "reader: write srcu lock_count[0] of CPU 0",
        "reader: write srcu unlock_count[0] of CPU 0",
    )
    assert run.told == [
        (2, "reader", repr(SectionBegan("srcu", 0))),
        (3, "reader", repr(SectionEnded("srcu", 0))),
    ]
    assert counts(run.made) == [([1, 0], [1, 0])]


async def test_a_section_may_end_on_another_processor(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> SrcuDomain:
        domain = SrcuDomain(scheduler, "srcu")

        async def read() -> None:
            async with domain.reading():
                scheduler.current.cpu = 1

        scheduler.task("reader", read, cpu=0)
        return domain

    run = await run_controlled(pool, RoundRobin(), build, cpus=2)
    assert counts(run.made) == [([1, 0], [0, 0]), ([0, 0], [1, 0])]
    run.made.cleanup()


def nested(scheduler: Scheduler) -> list[tuple[int, int]]:
    """A reader that nests, against one grace period; tells the two indexes."""
    domain = SrcuDomain(scheduler, "srcu")
    indexes: list[tuple[int, int]] = []

    async def read() -> None:
        outer = await domain.read_lock()
        inner = await domain.read_lock()
        indexes.append((outer, inner))
        await domain.read_unlock(inner)
        assert domain.held()
        await domain.read_unlock(outer)

    scheduler.task("reader", read)
    scheduler.task("updater", domain.synchronize_expedited)
    return indexes


async def test_nested_sections_may_have_different_ranks(pool: TaskPool) -> None:
    def judge(run: Run[list[tuple[int, int]]]) -> tuple[str, tuple[int, int]]:
        return verdict(run), run.made[0]

    found = await in_every_order(pool, nested, judge, preemptions=2)
    assert set(found) == {
        ("completed", (0, 0)),
        ("completed", (0, 1)),
        ("completed", (1, 1)),
    }


async def test_nested_sections_may_end_in_any_order(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> SrcuDomain:
        domain = SrcuDomain(scheduler, "srcu")

        async def read() -> None:
            outer = await domain.read_lock()
            domain.srcu_idx += 1
            inner = await domain.read_lock()
            await domain.read_unlock(outer)
            assert domain.held()
            await domain.read_unlock(inner)

        scheduler.task("reader", read)
        return domain

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.report.ending is Ending.COMPLETED
    assert counts(run.made) == [([1, 1], [1, 1])]


@pytest.mark.parametrize(
    ("inside", "left", "text"),
    [
        (False, 0, "but is in none"),
        (True, 1, "but is in one with index 0"),
    ],
)
async def test_leaving_a_section_one_is_not_in_is_a_finding(
    pool: TaskPool, left: int, text: str, *, inside: bool
) -> None:
    def build(scheduler: Scheduler) -> None:
        domain = SrcuDomain(scheduler, "srcu")
        other = SrcuDomain(scheduler, "irq_srcu")

        async def read() -> None:
            async with other.reading():
                if inside:
                    await domain.read_lock()
                await domain.read_unlock(left)

        scheduler.task("reader", read)

    run = await run_controlled(pool, RoundRobin(), build)
    assert isinstance(run.report.error, WrongUnlock)
    assert str(run.report.error) == (
        f"reader leaves a read section of srcu with index {left}, {text}"
    )


async def test_a_section_cannot_be_left_by_another_task(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        domain = SrcuDomain(scheduler, "srcu")
        indexes: list[int] = []

        async def enter() -> None:
            indexes.append(await domain.read_lock())

        async def leave() -> None:
            await scheduler.point(domain.idx_location.read, lambda: bool(indexes))
            await domain.read_unlock(indexes[0])

        scheduler.task("a", enter)
        scheduler.task("b", leave)

    run = await run_controlled(pool, RoundRobin(), build)
    assert (run.report.failed, type(run.report.error)) == ("b", WrongUnlock)


async def test_an_ordinary_exception_leaves_the_section(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> SrcuDomain:
        domain = SrcuDomain(scheduler, "srcu")

        async def read() -> None:
            with pytest.raises(OSError, match="refused"):
                async with domain.reading():
                    raise OSError("refused")
            assert not domain.held()

        scheduler.task("reader", read)
        return domain

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.report == Report(Ending.COMPLETED, steps=3)
    run.made.cleanup()


async def test_a_finding_does_not_leave_the_section(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> SrcuDomain:
        domain = SrcuDomain(scheduler, "srcu")

        async def read() -> None:
            async with domain.reading():
                raise RuleBroken("found")

        scheduler.task("reader", read)
        return domain

    run = await run_controlled(pool, RoundRobin(), build)
    assert (run.report.ending, run.report.steps) == (Ending.FAILED, 2)
    assert counts(run.made) == [([1, 0], [0, 0])]


async def test_two_readers_lose_no_increment(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> SrcuDomain:
        domain = SrcuDomain(scheduler, "srcu")

        async def read() -> None:
            async with domain.reading():
                pass

        scheduler.task("a", read)
        scheduler.task("b", read)
        return domain

    found = await in_every_order(pool, build, lambda run: str(counts(run.made)))
    assert found == Counter({"[([2, 0], [2, 0])]": 20})
