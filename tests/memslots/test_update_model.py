"""Whatever is asked in whatever order: the answers and the slots of a plain model."""

from __future__ import annotations

import errno
from typing import NamedTuple

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memslots.errors import MemoryRegionError
from memslots.guest_memfd import GuestMemfd
from memslots.region import Change, Region
from memslots.slot import MemorySlot
from memslots.units import Gpa, Hva
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.pool import open_pool
from rcu.schedule.scheduler import Scheduler
from tests.memslots.world import (
    AllocatingArch,
    Held,
    answer,
    arch_of,
    assert_at_rest,
    content,
    run_writer,
)

SPACES = 2
LAST_GFN = 18
FILE_PAGES = 6

PLACING: set[object] = {Change.CREATE, Change.MOVE}
SWAPS: dict[object, int] = {
    Change.CREATE: 1,
    Change.FLAGS_ONLY: 1,
    Change.DELETE: 2,
    Change.MOVE: 2,
}


class Place(NamedTuple):
    """What the model keeps of a slot; the file range in pages, -1 if there is none."""

    gfn: int
    npages: int
    hva: int
    flags: int
    file_page: int = -1


@attrs.define
class Model:
    """The rules of KVM_SET_USER_MEMORY_REGION, as short as they can be said."""

    slots: dict[tuple[int, int], Place] = attrs.field(factory=dict)
    generations: list[int] = attrs.field(factory=lambda: list(range(SPACES)))

    def answer(self, r: Region) -> Change | int | None:
        key = divmod(r.slot, 0x10000)
        new = Place(
            r.guest_phys_addr // 4096,
            r.memory_size // 4096,
            r.userspace_addr,
            r.flags,
            r.guest_memfd_offset // 4096 if r.flags & 4 else -1,
        )
        wanted = self.wanted(r, self.slots.get(key), new)
        refused = self.refusal(key, new, r.guest_memfd) if wanted in PLACING else 0
        too_high = wanted in PLACING and new.gfn + new.npages - 1 > LAST_GFN
        # A slot is INVALID for a while before the architecture is asked.
        if not refused and (wanted is not Change.CREATE or not too_high):
            self.generations[key[0] % SPACES] += SPACES * SWAPS.get(wanted, 0)
        if refused or too_high:
            return refused or errno.EINVAL
        if wanted is Change.DELETE:
            del self.slots[key]
        elif isinstance(wanted, Change):
            self.slots[key] = new
        return wanted

    def wanted(self, r: Region, old: Place | None, new: Place) -> Change | int | None:
        if not self.is_well_formed(r) or (old is None and not r.memory_size):
            return errno.EINVAL
        if old is None or not r.memory_size:
            return Change.DELETE if old else Change.CREATE
        if r.flags & 4 or (old.flags ^ new.flags) & 6:
            return errno.EINVAL
        if (old.npages, old.hva) != (new.npages, new.hva):
            return errno.EINVAL
        if old.gfn != new.gfn:
            return Change.MOVE
        return Change.FLAGS_ONLY if old != new else None

    def is_well_formed(self, r: Region) -> bool:
        known = (4 if r.flags & 4 else 3) if r.v2 else 3
        numbers = [r.memory_size, r.guest_phys_addr, r.userspace_addr]
        ends = [r.guest_phys_addr + r.memory_size]
        if r.flags & 4:
            numbers.append(r.guest_memfd_offset)
            ends.append(r.guest_memfd_offset + r.memory_size)
        return (
            not r.flags & ~known
            and r.slot % 0x10000 < 32764
            and r.slot // 0x10000 < SPACES
            and not any(number % 4096 for number in numbers)
            and max(ends) < 2**64
            and r.userspace_addr + r.memory_size <= 0x7FFF_FFFF_F000
            and r.memory_size < 2**43
        )

    def refusal(self, key: tuple[int, int], new: Place, descriptor: int) -> int:
        for (as_id, slot_id), slot in self.slots.items():
            if as_id == key[0] and slot_id != key[1]:
                low, high = sorted([slot, new])
                if low.gfn + low.npages > high.gfn:
                    return errno.EEXIST
        if new.flags & 4:
            if descriptor != 7:
                return errno.EBADF
            bound = {page for slot in self.slots.values() for page in file_pages(slot)}
            wanted = file_pages(new)
            if wanted & bound or max(wanted) >= FILE_PAGES:
                return errno.EINVAL
        return 0

    def content(self, as_id: int) -> list[Held]:
        return sorted(
            (
                Held(slot_id, *place[:4])
                for (space, slot_id), place in self.slots.items()
                if space == as_id
            ),
            key=lambda held: held.gfn,
        )


def file_pages(place: Place) -> set[int]:
    if place.file_page < 0:
        return set()
    return set(range(place.file_page, place.file_page + place.npages))


class BoundedArch(AllocatingArch):
    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        moves = change in {Change.CREATE, Change.MOVE}
        if new is not None and moves and new.end_gfn - 1 > LAST_GFN:
            raise MemoryRegionError(errno.EINVAL, "too high")
        await super().prepare_memory_region(old, new, change)


@st.composite
def plausible_requests(draw: st.DrawFn) -> Region:
    """Length, host address, read-only and mostly the place follow from the slot."""
    slot_id = draw(st.integers(0, 3))
    space = draw(st.sampled_from([0, 0, 0, 1]))
    gone = draw(st.sampled_from([False, False, False, True]))
    return Region(
        slot=space << 16 | slot_id,
        flags=slot_id % 2 * 2 + draw(st.integers(0, 1)),
        guest_phys_addr=Gpa(draw(st.just(5 * slot_id) | st.integers(0, 20)) * 4096),
        memory_size=0 if gone else 4096 * (1 + slot_id),
        userspace_addr=Hva(slot_id * 0x10000),
    )


faults = st.sampled_from(
    [
        {"flags": 0},
        {"flags": 2},
        {"flags": 3},
        {"flags": 4},
        {"flags": 8},
        {"flags": 8, "v2": True},
        {"flags": 5, "v2": True},
        {"flags": 6, "v2": True, "guest_memfd": 7},
        {"slot": 32764},
        {"slot": 0x2_0001},
        {"slot": 0xFFFF},
        {"memory_size": 4097},
        {"memory_size": 4096},
        {"memory_size": 8192},
        {"memory_size": 2**43},
        {"guest_phys_addr": 1},
        {"guest_phys_addr": 2**64 - 4096},
        {"userspace_addr": 1},
        {"userspace_addr": 0x7FFF_FFFF_E000},
        {"userspace_addr": 0x7FFF_FFFF_F000},
        {"userspace_addr": 0x30000},
        {"v2": True},
    ]
)
files = st.fixed_dictionaries(
    {
        "flags": st.just(4),
        "v2": st.just(value=True),
        "guest_memfd": st.sampled_from([7, 7, 7, 8]),
        "guest_memfd_offset": st.sampled_from([0, 0x1000, 0x4000, 1, 2**64 - 4096]),
    }
)
requests = st.one_of(
    plausible_requests(),
    plausible_requests(),
    plausible_requests(),
    st.builds(lambda r, fault: attrs.evolve(r, **fault), plausible_requests(), faults),
    st.builds(lambda r, file: attrs.evolve(r, **file), plausible_requests(), files),
)


def build(scheduler: Scheduler) -> Update:
    vm = Vm(scheduler, address_space_count=SPACES, arch=BoundedArch)
    vm.guest_memfds[7] = GuestMemfd(FILE_PAGES * 4096)
    return Update(vm)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(requests, min_size=10, max_size=30))
async def test_every_call_is_answered_as_the_model_says(asked: list[Region]) -> None:
    async def write(update: Update) -> None:
        model, vm = Model(), update.vm
        for request in asked:
            expected = model.answer(request)
            assert await answer(update, request) == expected, request
            assert_at_rest(vm)
            for as_id in range(SPACES):
                active = vm.active(as_id).peek()
                assert content(active) == model.content(as_id)
                assert active.generation == model.generations[as_id]
            assert sorted(vm.guest_memfds[7].bindings) == sorted(
                (place.file_page * 4096, (place.file_page + place.npages) * 4096)
                for place in model.slots.values()
                if place.file_page >= 0
            )
        arch_of(update).assert_arrays_belong_to_slots()

    async with open_pool() as pool:
        await run_writer(pool, write, build)
