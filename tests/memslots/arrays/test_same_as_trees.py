"""Whatever is asked in whatever order: arrays answer, hold and tell what trees do."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memslots.allocator import Allocation
from memslots.arrays.array_vm import ArrayVm
from memslots.errors import MemoryRegionError
from memslots.guest_memfd import GuestMemfd
from memslots.region import Region
from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.tracepoints import (
    AddressSpaceMade,
    ArchDataCopied,
    SetCopied,
    SetFreed,
    SetGivenUp,
    SetsSwapped,
    SlotReplaced,
)
from memslots.units import PAGE_SIZE, Gfn, Gpa, Hva
from memslots.update import Update
from rcu.schedule.pool import TaskPool, open_pool
from rcu.schedule.scheduler import Scheduler
from rcu.trace import Event
from scenarios.checkers.judge import Judge
from tests.memslots.arrays import world as arrays
from tests.memslots.world import assert_at_rest, backed, region, run_writer
from tests.support.running import Run
from vcpus.arch_x86 import ArchX86
from vcpus.lookup import SlotLookup
from vcpus.tracepoints import SetDereferenced

SPACES = 2
LAST_GFN = 26
FILE_PAGES = 6


# What is done.


@attrs.frozen
class Call:
    """A memory-region call, and which of its allocations finds no memory."""

    region: Region
    fail: Allocation | None = None


@attrs.frozen
class ShadowRoot:
    """Somebody needs the first shadow root."""


@attrs.frozen
class Look:
    """Lookups through the cache of the set and through that of a vCPU."""

    as_id: int
    gfns: tuple[int, ...]


@st.composite
def requests(draw: st.DrawFn) -> Region:
    """Mostly what can be done: length and host address follow from the id."""
    slot_id = draw(st.integers(0, 4))
    request = region(
        slot=draw(st.sampled_from([0, 0, 1])) << 16 | slot_id,
        gfn=draw(st.just(5 * slot_id) | st.integers(0, LAST_GFN)),
        npages=draw(st.sampled_from([1, 1, 1, 1, 0])) * (1 + slot_id),
        flags=slot_id % 2 * 2 + draw(st.integers(0, 1)),
        hva=Hva(0x10000 * slot_id),
    )
    if draw(st.integers(0, 5)):
        return request
    if draw(st.booleans()):
        return backed(request, draw(st.sampled_from([7, 8])), draw(st.integers(0, 5)))
    return attrs.evolve(request, **draw(faults))


faults: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"flags": 8},
        {"slot": 0x2_0001},
        {"slot": 32764},
        {"memory_size": 4097},
        {"memory_size": 0x8000},
        {"guest_phys_addr": Gpa(1)},
        {"guest_phys_addr": Gpa(0x10_0000_0000_0000)},
        {"userspace_addr": Hva(1)},
        {"userspace_addr": Hva(0x30000)},
    ]
)
steps = st.one_of(
    st.builds(Call, requests()),
    st.builds(Call, requests()),
    st.builds(Call, requests(), st.sampled_from(Allocation)),
    st.builds(ShadowRoot),
    st.builds(
        Look,
        st.integers(0, SPACES - 1),
        st.lists(st.integers(0, LAST_GFN), max_size=3).map(tuple),
    ),
)


# What can be seen.


def seen_of(slot: MemorySlot | None) -> object:
    """Everything about a slot but which object it is."""
    if slot is None:
        return None
    return (
        slot.serial,
        slot.id,
        slot.base_gfn,
        slot.npages,
        slot.userspace_addr,
        slot.flags,
        slot.dirty_bitmap is not None,
        slot.guest_memfd is not None,
        *(array is not None for array in slot.arch.arrays().values()),  # type: ignore[union-attr]
    )


def seen_in(slots: Memslots) -> list[object]:
    """What one set answers to whatever can be asked."""
    gfns = [Gfn(gfn) for gfn in range(LAST_GFN + 6)]
    ends = [Gfn(gfn + 4) for gfn in gfns]
    hvas = [Hva(number * 0x8000) for number in range(12)]
    return [
        slots.generation,
        len(slots),
        slots.last_gfn_end(),
        [seen_of(slot) for slot in slots],
        [seen_of(slots.id_to_memslot(slot_id)) for slot_id in range(6)],
        [seen_of(slots.search_memslots(gfn)) for gfn in gfns],
        [
            [seen_of(slot) for slot in slots.in_gfn_range(start, end)]
            for start, end in zip(gfns, ends, strict=True)
        ],
        [seen_of(slots.overlaps(start, Gfn(start + 1), 1)) for start in gfns],
        [
            # Two slots may begin at one address, in any order.
            sorted(map(str, map(seen_of, slots.in_hva_range(hva, Hva(hva + 0xFFF)))))
            for hva in hvas
        ],
    ]


def seen_of_vm(update: Update) -> list[object]:
    """What can be seen of a VM while nobody updates it."""
    vm = update.vm
    if isinstance(vm, ArrayVm):
        arrays.assert_at_rest(vm)
    else:
        assert_at_rest(vm)
    return [
        vm.nr_memslot_pages,
        sorted(vm.guest_memfds[7].bindings),
        *(seen_in(vm.active(as_id).peek()) for as_id in range(SPACES)),
    ]


ONLY_SETS = (
    AddressSpaceMade,
    ArchDataCopied,
    SetCopied,
    SetDereferenced,
    SetFreed,
    SetGivenUp,
    SlotReplaced,
    SetsSwapped,
)


def outline(event: Event) -> str:
    """An event without what is said of sets and their caches."""
    fields: dict[str, Any] = attrs.asdict(event, recurse=False)  # type: ignore[arg-type]
    for differing in ("set", "found_in"):
        fields.pop(differing, None)
    return f"{event.name} {fields}"


@attrs.define
class Story:
    """What became of the steps.

    Attributes:
        seen: After each step.
        told: Events, as far as both kinds tell the same.
    """

    seen: list[object]
    told: list[str]


def story_of(run: Run[Update], seen: list[object]) -> Story:
    judge = Judge()
    judge.read(run.records)
    assert judge.conclude().violations == ()
    return Story(
        seen,
        [
            outline(event)
            for _, actor, event in run.records
            if actor in {"setup", "writer"} and not isinstance(event, ONLY_SETS)
        ],
    )


async def play(pool: TaskPool, kind: str, todo: list[Any]) -> Story:
    """Do one thing after the other in a VM of one kind, and then destroy it."""
    seen: list[object] = []

    def build(scheduler: Scheduler) -> Update:
        vm = arrays.KINDS[kind].vm(scheduler, address_space_count=SPACES, arch=ArchX86)
        vm.guest_memfds[7] = GuestMemfd(FILE_PAGES * PAGE_SIZE)
        update = arrays.KINDS[kind].update(vm)
        update.install_internal_slots()
        vm.install([region(3, 15, 4, 2, Hva(0x30000))])
        return update

    async def write(update: Update) -> None:
        lookup, looker = SlotLookup(update.vm), arrays.Looker()
        for step in todo:
            seen.append(await do(update, lookup, looker, step))
            seen.append(seen_of_vm(update))
        await update.put()

    return story_of(await run_writer(pool, write, build), seen)


async def do(
    update: Update, lookup: SlotLookup, looker: arrays.Looker, step: Any
) -> object:
    """The answer to one step."""
    vm = update.vm
    assert isinstance(vm.arch, ArchX86)
    try:
        match step:
            case Call():
                if step.fail is not None:
                    vm.allocator.fail(step.fail)
                return await update.set_memory_region(step.region)
            case ShadowRoot():
                async with vm.srcu.reading():
                    await vm.arch.shadow_roots.first_alloc()
            case Look():
                looker.as_id = step.as_id
                async with vm.srcu.reading():
                    for gfn in map(Gfn, step.gfns):
                        await lookup.gfn_to_memslot(step.as_id, gfn)
                        await lookup.vcpu_gfn_to_memslot(looker, gfn)
    except MemoryRegionError as error:
        return str(error)
    finally:
        vm.allocator.forget()
    return None


async def assert_same(todo: list[Any]) -> None:
    async with open_pool() as pool:
        tree = await play(pool, "tree", todo)
        array = await play(pool, "array", todo)
    assert array.seen == tree.seen
    assert array.told == tree.told


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(steps, min_size=10, max_size=25))
async def test_arrays_do_what_trees_do(todo: list[Any]) -> None:
    await assert_same(todo)
