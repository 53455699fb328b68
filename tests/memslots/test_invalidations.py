"""No set is published between the start and the end of an invalidation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import attrs
import pytest

from memslots.errors import UnbalancedNotifier
from memslots.invalidations import Invalidations
from memslots.region import Region
from memslots.slot_set import Memslots
from memslots.update import Update
from memslots.vm import Vm
from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from tests.memslots.world import deletion, expect_completed, region, run_writer
from tests.support.exploring import in_every_order, in_random_orders
from tests.support.running import Build, Run


@attrs.define
class Stage:
    """What a writer publishes while notifiers look on."""

    published: int = 0
    seen: list[tuple[int, int]] = attrs.field(factory=list)


def writer_and_notifiers(
    notifiers: int,
    sections: int = 1,
    make: Callable[[Scheduler], Invalidations] = Invalidations,
) -> Build[Stage]:
    """One task publishes a number; others look at it at both ends of a section."""

    def build(scheduler: Scheduler) -> Stage:
        stage, invalidations = Stage(), make(scheduler)
        location = Location("published")

        async def write() -> None:
            await invalidations.wait_until_none()
            await scheduler.point(location.write)
            stage.published += 1
            await invalidations.lock.release()

        async def notify() -> None:
            for _ in range(sections):
                await invalidations.begin()
                await scheduler.point(location.read)
                first = stage.published
                await scheduler.point(location.read)
                stage.seen.append((first, stage.published))
                await invalidations.end()

        scheduler.task("writer", write)
        for number in range(notifiers):
            scheduler.task(f"notifier{number}", notify)
        return stage

    return build


def verdict(run: Run[Stage]) -> str:
    if run.report.ending is not Ending.COMPLETED:
        return str(run.report.ending.value)
    assert run.made.published == 1
    changes = [second - first for first, second in run.made.seen]
    return "changed inside a section" if any(changes) else "quiet"


@pytest.mark.slow
async def test_in_no_order_is_anything_published_inside_a_section(
    pool: TaskPool,
) -> None:
    build = writer_and_notifiers(1, sections=2)
    verdicts = await in_every_order(pool, build, verdict)
    assert verdicts == Counter(quiet=1995)


async def test_nor_with_two_notifiers_and_few_preemptions(pool: TaskPool) -> None:
    build = writer_and_notifiers(2)
    verdicts = await in_every_order(pool, build, verdict, preemptions=2)
    assert verdicts == Counter(quiet=490)


async def test_nor_with_sections_that_follow_each_other(pool: TaskPool) -> None:
    build = writer_and_notifiers(2, sections=2)
    verdicts = await in_random_orders(pool, build, verdict, range(200))
    assert verdicts == Counter(quiet=200)


class ChecksBeforeItRegisters(Invalidations):
    """Loses the wake-up that comes between the check and the registration."""

    async def wait_until_none(self) -> None:
        await self.lock.acquire()
        while await self._any_active():
            await self.lock.release()
            await self._rcuwait.prepare()
            await self._rcuwait.sleep()
            await self.lock.acquire()


class PublishesUnlocked(Invalidations):
    """Lets a section begin between the check and the publishing."""

    async def wait_until_none(self) -> None:
        await super().wait_until_none()
        await self.lock.release()
        await self.lock.acquire()


class NeverWakes(Invalidations):
    async def end(self) -> None:
        async with self.lock:
            self.active_count -= 1


class WakesAtEachEnd(Invalidations):
    """Wakes too often, which is no error: the writer looks again."""

    async def end(self) -> None:
        await super().end()
        await self._rcuwait.wake()


class DoesNotWait(Invalidations):
    async def wait_until_none(self) -> None:
        await self.lock.acquire()


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (Invalidations, {"quiet": 23}),
        (ChecksBeforeItRegisters, {"quiet": 51, "deadlock": 10}),
        (PublishesUnlocked, {"quiet": 35, "changed inside a section": 4}),
        (NeverWakes, {"quiet": 2, "deadlock": 15}),
        (WakesAtEachEnd, {"quiet": 149}),
        (DoesNotWait, {"quiet": 11, "changed inside a section": 4}),
    ],
)
async def test_each_step_of_the_wait_is_needed(
    pool: TaskPool, make: Callable[[Scheduler], Invalidations], found: dict[str, int]
) -> None:
    build = writer_and_notifiers(1, make=make)
    verdicts = await in_every_order(pool, build, verdict)
    assert verdicts == found


async def test_sections_are_counted(pool: TaskPool) -> None:
    async def notify(update: Update) -> None:
        invalidations = update.vm.invalidations
        counts = []
        for step in (
            invalidations.begin,
            invalidations.begin,
            invalidations.end,
            invalidations.begin,
            invalidations.end,
            invalidations.end,
        ):
            await step()
            assert invalidations.lock.is_free()
            counts.append(invalidations.active_count)
        assert counts == [1, 2, 1, 2, 1, 0]

    await run_writer(pool, notify)


async def test_whoever_waited_holds_the_lock(pool: TaskPool) -> None:
    async def wait(update: Update) -> None:
        invalidations = update.vm.invalidations
        await invalidations.wait_until_none()
        assert invalidations.lock.held()
        await invalidations.lock.release()

    await run_writer(pool, wait)


# With a real update.


def update_and_notifier(wanted: Region) -> Build[list[tuple[Memslots, Memslots]]]:
    """A change beside two sections of a notifier that looks at the active set."""

    def build(scheduler: Scheduler) -> list[tuple[Memslots, Memslots]]:
        vm = Vm(scheduler)
        vm.install([region()])
        seen: list[tuple[Memslots, Memslots]] = []

        async def write() -> None:
            await Update(vm).set_memory_region(wanted)

        async def notify() -> None:
            for _ in range(2):
                await vm.invalidations.begin()
                async with vm.srcu.reading():
                    first = await vm.active(0).dereference()
                async with vm.srcu.reading():
                    seen.append((first, await vm.active(0).dereference()))
                await vm.invalidations.end()

        scheduler.task("writer", write)
        scheduler.task("notifier", notify)
        return seen

    return build


def swaps_seen(run: Run[list[tuple[Memslots, Memslots]]]) -> int:
    expect_completed(run)
    assert all(first is second for first, second in run.made)
    (one, _), (other, _) = run.made
    return int(one is not other)


@pytest.mark.parametrize("wanted", [deletion(), region(gfn=0x20), region(2, 0x20)])
async def test_both_ends_of_a_section_see_the_same_active_set(
    pool: TaskPool, wanted: Region
) -> None:
    build = update_and_notifier(wanted)
    verdicts = await in_random_orders(pool, build, swaps_seen, range(200), cpus=2)
    assert set(verdicts) == {0, 1}


async def test_a_section_that_was_never_begun_cannot_be_ended(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> Invalidations:
        invalidations = Invalidations(scheduler)
        scheduler.task("notifier", invalidations.end)
        return invalidations

    def judge(run: Run[Invalidations]) -> tuple[type, int]:
        return type(run.report.error), run.made.active_count

    assert await in_every_order(pool, build, judge) == {(UnbalancedNotifier, 0): 1}


async def test_open_sections_can_be_forgotten_once_nobody_can_end_them(
    pool: TaskPool,
) -> None:
    async def forget(update: Update) -> None:
        invalidations = update.vm.invalidations
        await invalidations.begin()
        await invalidations.begin()
        await invalidations.forget_open()
        assert invalidations.active_count == 0
        await invalidations.wait_until_none()
        await invalidations.lock.release()

    await run_writer(pool, forget)
