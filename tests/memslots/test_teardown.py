"""The end of a VM: nothing waits for ever, and everything is freed once."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from memslots.dirty_bitmap import DirtyBitmap
from memslots.errors import UpdateDuringDestruction
from memslots.guest_memfd import GuestMemfd
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.slot_set import Memslots
from memslots.tracepoints import (
    MemoryFreed,
    SetGivenUp,
    SlotFreed,
    SlotReplaced,
    VmDestroyed,
)
from memslots.units import PAGE_SIZE
from memslots.update import Update
from memslots.vm import Vm
from rcu.errors import DomainBusy, DoubleFree, NotProtected
from rcu.reclaim import is_reclaimed
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.counters import Callback
from scenarios.checkers.judge import Judge
from scenarios.strategies.round_robin import RoundRobin
from tests.memslots.world import (
    AllocatingArch,
    answer,
    arch_of,
    backed,
    expect_completed,
    region,
    run_writer,
)
from tests.support.exploring import in_every_order
from tests.support.running import Build, Run, run_controlled

LOG = LOG_DIRTY_PAGES
REGIONS = (region(1, 0x10, flags=LOG), region(2, 0x20), region(0x10001, 0x10))

MakeUpdate = Callable[[Vm], Update]


def whole_vm(make: MakeUpdate = Update) -> Callable[[Scheduler], Update]:
    """Two address spaces: slots #1 to #6 are internal, #7 to #9 are user space's."""

    def build(scheduler: Scheduler) -> Update:
        vm = Vm(scheduler, address_space_count=2, arch=AllocatingArch)
        update = make(vm)
        update.install_internal_slots()
        vm.install(REGIONS)
        return update

    return build


def small_vm(scheduler: Scheduler) -> Update:
    """One slot."""
    vm = Vm(scheduler)
    vm.install([region()])
    return Update(vm)


async def destroy(update: Update) -> None:
    await update.destroy()


CHECKERS = {"freed-once", "no-use-after-free", "page-count", "sets-converge"}


def verdict(run: Run[Update]) -> list[str]:
    """Which checkers of slots and memory find something."""
    judge = Judge()
    judge.read(run.records)
    found = [each.checker for each in judge.conclude().violations]
    return [checker for checker in found if checker in CHECKERS]


async def test_everything_is_freed_once(pool: TaskPool) -> None:
    owned: list[MemorySlot | DirtyBitmap] = []

    async def write(update: Update) -> None:
        for pair in update.vm.sets:
            for slot in pair[0]:
                owned.append(slot)
                if slot.dirty_bitmap is not None:
                    owned.append(slot.dirty_bitmap)
        await update.destroy()

    run = await run_writer(pool, write, whole_vm())
    assert len(owned) == 9 + 1
    assert all(map(is_reclaimed, owned))
    assert all(map(is_reclaimed, arch_of(run.made).arrays))
    assert len(arch_of(run.made).arrays) == 9
    assert verdict(run) == []


async def test_internal_slots_are_deleted_and_the_others_freed_with_one_set_only(
    pool: TaskPool,
) -> None:
    run = await run_writer(pool, destroy, whole_vm())
    events = [event for *_, event in run.records]
    given_up = [e for e in events if isinstance(e, SetGivenUp)]
    assert [(e.as_id, e.set) for e in given_up] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    first = events.index(given_up[0])
    deleted = [e for e in events[:first] if isinstance(e, SlotReplaced)]
    assert [each.new for each in deleted if each.old in {1, 2, 3, 4, 5, 6}].count(
        None
    ) == 6  # from one set; from the other goes the INVALID copy
    freed = [
        (type(event).__name__, event.serial)
        if isinstance(event, SlotFreed)
        else (event.kind, event.slot)
        for event in events[first:]
        if isinstance(event, SlotFreed | MemoryFreed)
    ]
    assert freed == [
        ("dirty-bitmap", 7),
        ("SlotFreed", 7),
        ("SlotFreed", 8),
        ("SlotFreed", 9),
    ]
    assert isinstance(events[-1], VmDestroyed)


async def test_it_ends_the_same_where_nobody_listens(pool: TaskPool) -> None:
    scheduler = ControlledScheduler(RoundRobin())
    update = whole_vm()(scheduler)
    slots = list(update.vm.sets[0][0])
    scheduler.task("vmm", update.destroy)
    report = await pool.run(scheduler)
    assert report.ending is Ending.COMPLETED
    assert len(slots) == 5
    assert all(map(is_reclaimed, slots))


async def test_a_file_gets_its_range_back(pool: TaskPool) -> None:
    file = GuestMemfd(8 * PAGE_SIZE)

    async def write(update: Update) -> None:
        update.vm.guest_memfds[7] = file
        await answer(update, backed(region(), 7))
        assert file.bindings == [(0, 4 * PAGE_SIZE)]
        await update.destroy()
        assert file.bindings == []

    await run_writer(pool, write)


async def test_no_call_is_answered_afterwards(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        await update.destroy()
        assert await answer(update, region(2, 0x20)) == errno.EIO

    await run_writer(pool, write, small_vm)


# Who may look, and who is the last.


async def test_the_last_user_destroys_it(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        vm = update.vm
        await update.get()
        await update.get()
        for left in (2, 1):
            await update.put()
            assert vm.users_count == left
            assert not vm.dead
        await update.put()
        assert vm.dead
        assert vm.users_count == 0

    await run_writer(pool, write, small_vm)


async def test_without_users_a_lookup_needs_no_protection(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        vm = update.vm
        with pytest.raises(NotProtected):
            await vm.active(0).dereference()
        vm.users_count = 0
        slots = await vm.active(0).dereference()
        assert [slot.id for slot in slots] == [1]

    await run_writer(pool, write, small_vm)


def last_user(*, counted: bool) -> Build[Update]:
    """A reader, and a task that gives the VM back, or destroys it without asking."""

    def build(scheduler: Scheduler) -> Update:
        update = small_vm(scheduler)
        vm = update.vm
        vm.users_count = 2

        async def read() -> None:
            async with vm.srcu.reading():
                slots = await vm.active(0).dereference()
                await scheduler.point(slots.lookup)
                assert [slot.id for slot in slots] == [1]
            await update.put()

        scheduler.task("reader", read)
        scheduler.task("vmm", update.put if counted else update.destroy)
        return update

    return build


def ending(run: Run[Update]) -> str:
    error = run.report.error
    return run.report.ending.value if error is None else type(error).__name__


async def test_a_user_who_is_counted_is_waited_for(pool: TaskPool) -> None:
    verdicts = await in_every_order(pool, last_user(counted=True), ending)
    assert verdicts == {"completed": 7}


async def test_a_reader_who_is_not_counted_is_found_inside(pool: TaskPool) -> None:
    build = last_user(counted=False)
    verdicts = await in_every_order(pool, build, ending, preemptions=2)
    assert verdicts == {"DomainBusy": 34, "UseAfterFree": 21, "completed": 69}


async def test_the_domain_is_not_given_up_under_a_reader(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        await update.vm.srcu.read_lock()
        with pytest.raises(DomainBusy, match="with readers inside"):
            await update.cleanup_srcu()

    await run_writer(pool, write, small_vm)


# Something that is freed after a grace period of the domain.


class WaitsForNoCallback(Update):
    """Gives the domain up whatever is queued there."""

    async def wait_for_callbacks(self) -> None:
        pass


def freeing_later(make: MakeUpdate) -> Build[Update]:
    """A bus of devices is replaced; then the VM is destroyed."""

    def build(scheduler: Scheduler) -> Update:
        update = make(small_vm(scheduler).vm)

        async def end() -> None:
            await update.vm.srcu.call(Callback("freeing of the old bus", lambda: None))
            await update.destroy()

        scheduler.task("vmm", end)
        return update

    return build


@pytest.mark.parametrize("cpus", [1, 2])
async def test_what_is_freed_later_is_waited_for(pool: TaskPool, cpus: int) -> None:
    build = freeing_later(Update)
    verdicts = await in_every_order(pool, build, ending, cpus=cpus, preemptions=2)
    assert list(verdicts) == ["completed"]


async def test_who_does_not_wait_for_it_finds_the_domain_busy(pool: TaskPool) -> None:
    build = freeing_later(WaitsForNoCallback)
    verdicts = await in_every_order(pool, build, ending, preemptions=2)
    assert verdicts == {"DomainBusy": 133, "completed": 11}


# A notifier that began an invalidation and will not end it.


class WaitsForTheNotifier(Update):
    """Leaves the count as the notifier left it."""

    async def forget_open_invalidations(self) -> None:
        pass


async def run_unbalanced(
    pool: TaskPool, make: MakeUpdate, build: Callable[[MakeUpdate], Build[Update]]
) -> Run[Update]:
    """An invalidation begins; the VM is destroyed before it ends."""

    def add_tasks(scheduler: Scheduler) -> Update:
        update = build(make)(scheduler)

        async def end() -> None:
            await update.vm.invalidations.begin()
            await update.destroy()

        scheduler.task("vmm", end)
        return update

    return await run_controlled(pool, RoundRobin(), add_tasks)


async def test_nobody_waits_for_an_end_that_does_not_come(pool: TaskPool) -> None:
    run = await run_unbalanced(pool, Update, whole_vm)
    expect_completed(run)
    assert run.made.vm.invalidations.active_count == 0
    assert verdict(run) == []


async def test_whoever_waits_for_it_waits_for_ever(pool: TaskPool) -> None:
    run = await run_unbalanced(pool, WaitsForTheNotifier, whole_vm)
    assert run.report.ending is Ending.DEADLOCK
    (stuck,) = run.report.stuck
    assert (stuck.task, stuck.waits_for) == (
        "vmm",
        "sleep on mn_memslots_update_rcuwait",
    )
    assert stuck.holds == ("slots_lock", "slots_arch_lock")


async def test_without_internal_slots_nobody_would_notice(pool: TaskPool) -> None:
    def build(make: MakeUpdate) -> Build[Update]:
        return small_vm

    expect_completed(await run_unbalanced(pool, WaitsForTheNotifier, build))


async def test_no_slot_may_be_changing_by_then(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> Update:
        update = small_vm(scheduler)

        async def begin_and_destroy() -> None:
            await update.vm.invalidations.begin()
            for _ in range(50):  # until the writer waits
                await scheduler.point(update.vm.slot_memory.read)
            await update.destroy()

        async def write() -> None:
            await update.set_memory_region(region(2, 0x20))

        scheduler.task("vmm", begin_and_destroy)
        scheduler.task("writer", write)
        return update

    run = await run_controlled(pool, RoundRobin(), build)
    assert isinstance(run.report.error, UpdateDuringDestruction)
    text = "writer changes a slot while vmm destroys the VM"
    assert run.report.error.args == (text,)


# Both sets have the same slots.


class FreesBothSets(Update):
    """Takes the slots of each set for its own."""

    async def free_memslots(self, slots: Memslots) -> None:
        for slot in list(slots):
            await self.free_memslot(slot)


async def test_a_slot_that_is_freed_with_both_sets_is_freed_twice(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> Update:
        update = FreesBothSets(small_vm(scheduler).vm)
        scheduler.task("vmm", update.destroy)
        return update

    run = await run_controlled(pool, RoundRobin(), build)
    assert isinstance(run.report.error, DoubleFree)
    freed = r"^vmm frees <slot 1 #1 of address space 0 \(freed by vmm in step \d+\)>"
    with pytest.raises(DoubleFree, match=f"{freed}, a second time$"):
        raise run.report.error


class FreesNothing(Update):
    """Gives the memory of the slots up without freeing it."""

    async def free_memslot(self, slot: MemorySlot) -> None:
        pass


async def test_what_is_not_freed_is_told_when_the_vm_is_gone(pool: TaskPool) -> None:
    run = await run_writer(pool, destroy, whole_vm(FreesNothing))
    assert set(verdict(run)) == {"freed-once"}
