"""Readers beside a writer, in many orders: what they may see, and what keeps it so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import pytest

from memslots.region import Change, Region
from memslots.slot import INVALID, LOG_DIRTY_PAGES, MemorySlot
from memslots.slot_set import Memslots
from memslots.units import Gfn
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from tests.memslots.world import (
    HVA,
    AllocatingArch,
    Array,
    Held,
    Pointers,
    answer,
    arch_of,
    assert_at_rest,
    content,
    deletion,
    expect_completed,
    region,
)
from tests.support.exploring import in_random_orders
from tests.support.running import Build, Run

LOG = LOG_DIRTY_PAGES
SEEDS = range(200)
NEIGHBOURS = [region(id_, 0x60 + 8 * id_) for id_ in range(10, 16)]

Seen = tuple[Held, ...]


@attrs.define
class Reading:
    """What a reader saw, section by section; its neighbours left out."""

    update: Update
    seen: list[Seen] = attrs.field(factory=list)
    written: bool = False


def reader_and_writer(
    requests: Sequence[Region],
    make: Callable[[Vm], Update] = Update,
    *,
    exhausted: bool = False,
) -> Build[Reading]:
    """A reader looks at each set that it dereferences at once, by nodes, and again.

    It goes on until the writer has finished, and once more.
    """

    def build(scheduler: Scheduler) -> Reading:
        vm = Vm(scheduler, arch=AllocatingArch)
        vm.install([region(), *NEIGHBOURS])
        reading = Reading(make(vm))
        arch_of(reading.update).exhausted = exhausted

        async def write() -> None:
            for request in requests:
                await answer(reading.update, request)
            reading.written = True

        async def look(slots: Memslots) -> Seen:
            await scheduler.point(slots.lookup)
            return tuple(held for held in content(slots) if held.id < 10)

        async def look_up_by_nodes(slots: Memslots) -> None:
            read = None
            for slot in slots.walk(Gfn(0xB1)):
                await scheduler.point(slots.lookup)
                read = slot
            assert read is not None
            assert read.id == 10

        async def read_once() -> None:
            async with vm.srcu.reading():
                slots = await vm.active(0).dereference()
                reading.seen.append(await look(slots))
                kept = list(slots)
                await look_up_by_nodes(slots)
                assert [slot.id for slot in kept] == [slot.id for slot in slots]
                assert await look(slots) == reading.seen[-1]

        async def read() -> None:
            while not reading.written:
                await read_once()
            await read_once()

        scheduler.task("writer", write)
        scheduler.task("reader", read)
        return reading

    return build


def at(gfn: int, flags: int = 0) -> Held:
    return Held(1, gfn, 4, HVA, flags)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("requests", "committed"),
    [
        pytest.param(
            [region(2, 0x20)],
            [(at(0x10),), (at(0x10), Held(2, 0x20, 4, HVA, 0))],
            id="create",
        ),
        pytest.param(
            [deletion()], [(at(0x10),), (at(0x10, INVALID),), ()], id="delete"
        ),
        pytest.param(
            [region(gfn=0x20)],
            [(at(0x10),), (at(0x10, INVALID),), (at(0x20),)],
            id="move",
        ),
        pytest.param([region(flags=LOG)], [(at(0x10),), (at(0x10, LOG),)], id="flags"),
        pytest.param(
            [region(gfn=0x20), region(gfn=0x20, flags=LOG), deletion()],
            [
                (at(0x10),),
                (at(0x10, INVALID),),
                (at(0x20),),
                (at(0x20, LOG),),
                (at(0x20, INVALID | LOG),),
                (),
            ],
            id="move, flags, delete",
        ),
    ],
)
async def test_readers_see_committed_contents_in_their_order(
    pool: TaskPool, requests: list[Region], committed: list[Seen]
) -> None:
    def phases(run: Run[Reading]) -> tuple[int, ...]:
        expect_completed(run)
        assert_at_rest(run.made.update.vm)
        return tuple(committed.index(seen) for seen in run.made.seen)

    build = reader_and_writer(requests)
    seen = await in_random_orders(pool, build, phases, SEEDS, cpus=2)
    assert all(list(order) == sorted(order) for order in seen)
    assert all(order[-1] == len(committed) - 1 for order in seen)
    assert {phase for order in seen for phase in order} == {*range(len(committed))}


@pytest.mark.slow
async def test_a_move_that_fails_shows_the_invalid_slot_for_a_while(
    pool: TaskPool,
) -> None:
    def contents(run: Run[Reading]) -> tuple[Seen, ...]:
        expect_completed(run)
        assert_at_rest(run.made.update.vm)
        return tuple(run.made.seen)

    build = reader_and_writer([region(gfn=0x20)], exhausted=True)
    orders = await in_random_orders(pool, build, contents, SEEDS, cpus=2)
    before, invalid = (at(0x10),), (at(0x10, INVALID),)
    assert all(order[-1] == before for order in orders)
    assert {seen for order in orders for seen in order} == {before, invalid}


# Somebody who allocates arch data inside a read section.


def allocator_and_writer(
    request: Region, make: Callable[[Vm], Update] = Update, *, exhausted: bool = False
) -> Build[Update]:
    """Somebody replaces the arrays of all slots now and then."""

    def build(scheduler: Scheduler) -> Update:
        vm = Vm(scheduler, arch=AllocatingArch)
        vm.install([region(), region(9, 0x90)])
        update = make(vm)
        arch = arch_of(update)

        async def write() -> None:
            await scheduler.point(vm.slot_memory.read)
            await answer(update, request)

        async def allocate() -> None:
            for _ in range(3):
                async with vm.srcu.reading(), vm.slots_arch_lock:
                    slots = await vm.active(0).dereference()
                    await scheduler.point(slots.lookup)
                    for slot in slots:
                        assert isinstance(slot.arch, Pointers)
                        arch.free_memslot(slot.arch)
                        slot.arch.array = Array()
                        arch.arrays.append(slot.arch.array)

        arch.exhausted = exhausted
        scheduler.task("writer", write)
        scheduler.task("allocator", allocate)
        return update

    return build


CHANGES = [deletion(), region(gfn=0x20), region(flags=LOG), region(2, 0x20)]


@pytest.mark.slow
@pytest.mark.parametrize("wanted", CHANGES)
@pytest.mark.parametrize("exhausted", [False, True])
async def test_no_arch_data_is_lost_and_nobody_waits_for_ever(
    pool: TaskPool, wanted: Region, *, exhausted: bool
) -> None:
    def judge(run: Run[Update]) -> str:
        expect_completed(run)
        assert_at_rest(run.made.vm)
        arch_of(run.made).assert_arrays_belong_to_slots()
        return "fine"

    build = allocator_and_writer(wanted, exhausted=exhausted)
    assert await in_random_orders(pool, build, judge, SEEDS, cpus=2) == {"fine": 200}


# What keeps it so: without any of these steps somebody notices.


class NoGracePeriod(Update):
    async def wait_for_readers(self) -> None:
        await self.vm.slots_arch_lock.release()


class EditsWhatReadersSee(Update):
    async def replace_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        slot = new or old
        assert slot is not None
        await self.edit(self.vm.active(slot.as_id).peek(), old, new)


class KeepsArchLock(Update):
    async def wait_for_readers(self) -> None:
        await self.vm.srcu.synchronize_expedited()
        await self.vm.slots_arch_lock.release()


class NoResync(Update):
    def resync_arch(self, old: MemorySlot, invalid: MemorySlot) -> None:
        pass


class CopiesWithoutArchLock(Update):
    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        arch = None if old is None or old.arch is None else old.arch.copy()
        await self.vm.slots_arch_lock.release()
        await self.vm.slots_arch_lock.acquire()
        await super().prepare_memory_region(old, new, change)
        if new is not None and change is Change.FLAGS_ONLY:
            new.arch = arch


def reader_verdict(run: Run[Reading]) -> str:
    error = run.report.error
    return "fine" if error is None else type(error).__name__


def allocator_verdict(run: Run[Update]) -> str:
    if run.report.error is not None:
        return type(run.report.error).__name__
    if run.report.ending is Ending.DEADLOCK:
        return "deadlock"
    try:
        arch_of(run.made).assert_arrays_belong_to_slots()
    except AssertionError:
        return "lost"
    return "fine"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (NoGracePeriod, deletion()),
        (NoGracePeriod, region(flags=LOG)),
        (EditsWhatReadersSee, region(flags=LOG)),
        (EditsWhatReadersSee, region(2, 0x20)),
    ],
)
async def test_a_reader_notices(
    pool: TaskPool, make: Callable[[Vm], Update], wanted: Region
) -> None:
    build = reader_and_writer([wanted], make)
    verdicts = await in_random_orders(pool, build, reader_verdict, SEEDS, cpus=2)
    assert "AssertionError" in verdicts
    assert set(verdicts) <= {"fine", "AssertionError", "UseAfterFree"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "wanted", "found"),
    [
        (KeepsArchLock, region(2, 0x20), {"deadlock"}),
        (NoResync, deletion(), {"DoubleFree"}),
        (NoResync, region(gfn=0x20), {"DoubleFree"}),
        (CopiesWithoutArchLock, region(flags=LOG), {"DoubleFree", "lost"}),
    ],
)
async def test_an_allocator_notices(
    pool: TaskPool, make: Callable[[Vm], Update], wanted: Region, found: set[str]
) -> None:
    build = allocator_and_writer(wanted, make)
    verdicts = await in_random_orders(pool, build, allocator_verdict, SEEDS, cpus=2)
    assert found <= set(verdicts) <= {"fine", *found}
