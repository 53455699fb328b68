"""A published pointer is read inside a section or under a lock, or it is a finding."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest

from rcu.errors import NotProtected
from rcu.locks import Mutex
from rcu.published import Published
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.domain import SrcuDomain
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order
from tests.support.running import Build, run_controlled


@attrs.define(eq=False)
class House:
    pointer: Published[str]
    own: SrcuDomain
    foreign: SrcuDomain
    lock: Mutex
    other_lock: Mutex

    async def dereference_in(self, where: str) -> str:
        match where:
            case "section":
                async with self.own.reading():
                    return await self.pointer.dereference()
            case "nested section":
                async with self.own.reading(), self.foreign.reading():
                    return await self.pointer.dereference()
            case "foreign section":
                async with self.foreign.reading():
                    return await self.pointer.dereference()
            case "lock":
                async with self.lock:
                    return await self.pointer.dereference()
            case "other lock":
                async with self.other_lock:
                    return await self.pointer.dereference()
            case _:
                return await self.pointer.dereference()


def house(scheduler: Scheduler) -> House:
    own, foreign = SrcuDomain(scheduler, "srcu"), SrcuDomain(scheduler, "irq_srcu")
    lock, other_lock = Mutex(scheduler, "slots_lock"), Mutex(scheduler, "lock")
    pointer = Published(scheduler, "memslots[0]", "old", domain=own, locks=(lock,))
    return House(pointer, own, foreign, lock, other_lock)


def reading_in(where: str) -> Build[list[str]]:
    def build(scheduler: Scheduler) -> list[str]:
        seen: list[str] = []
        inside = house(scheduler)

        async def read() -> None:
            seen.append(await inside.dereference_in(where))

        scheduler.task("reader", read)
        return seen

    return build


@pytest.mark.parametrize("where", ["section", "nested section", "lock"])
async def test_a_section_or_a_named_lock_protects(pool: TaskPool, where: str) -> None:
    run = await run_controlled(pool, RoundRobin(), reading_in(where))
    assert (run.report.ending, run.made) == (Ending.COMPLETED, ["old"])


@pytest.mark.parametrize("exempt", [True, False])
async def test_what_cannot_change_needs_no_protection(
    pool: TaskPool,
    exempt: bool,  # noqa: FBT001 - a column
) -> None:
    def build(scheduler: Scheduler) -> House:
        inside = house(scheduler)
        inside.pointer = Published(
            scheduler, "alone", "old", domain=inside.own, exempt=lambda: exempt
        )

        async def read() -> None:
            await inside.dereference_in("nowhere")

        scheduler.task("reader", read)
        return inside

    run = await run_controlled(pool, RoundRobin(), build)
    assert isinstance(run.report.error, NotProtected) is not exempt


@pytest.mark.parametrize("where", ["nowhere", "foreign section", "other lock"])
async def test_nothing_else_does(pool: TaskPool, where: str) -> None:
    run = await run_controlled(pool, RoundRobin(), reading_in(where))
    assert isinstance(run.report.error, NotProtected)
    assert str(run.report.error) == (
        "reader dereferences memslots[0] outside a read section of srcu"
    )


async def test_what_is_assigned_is_seen_from_that_step_on(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> list[str]:
        seen: list[str] = []
        inside = house(scheduler)

        async def read() -> None:
            seen.append(await inside.dereference_in("lock"))

        async def write() -> None:
            await inside.pointer.assign("new")
            assert inside.pointer.peek() == "new"

        scheduler.task("reader", read)
        scheduler.task("writer", write)
        return seen

    # acquire, dereference, release; the write falls into one of four gaps.
    found = await in_every_order(pool, build, lambda run: run.made[0])
    assert found == Counter(old=2, new=2)
