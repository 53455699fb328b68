"""An array of slots with time standing still, against plain dicts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from memslots.arrays.array_set import ArrayMemslots, OutOfArray
from memslots.arrays.slot_array import ABSENT
from memslots.indexes.errors import StructureBroken
from memslots.slot import INVALID, MemorySlot
from memslots.units import PAGE_SIZE, Gfn, Hva
from tests.memslots.arrays.world import (
    IDS,
    copied,
    entries,
    filled,
    new_set,
    new_slot,
)

LAST_GFN = 40
ids = st.integers(0, 7)
gfns = st.integers(0, LAST_GFN)


class ArrayBesideDict(RuleBasedStateMachine):
    """Slots come, change, move, go; now and then the array is copied."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = new_set(capacity=8)
        self.held: dict[int, MemorySlot] = {}
        self.serial = 0

    def wanted(self, slot_id: int, gfn: int, npages: int) -> MemorySlot | None:
        """A slot with this id, unless another one is in its way."""
        self.serial += 1
        new = new_slot(self.serial, gfn, npages, slot_id)
        for slot in self.held.values():
            meets = slot.base_gfn < new.end_gfn and new.base_gfn < slot.end_gfn
            if slot.id != slot_id and meets:
                return None
        return new

    @rule(slot_id=ids, gfn=gfns, npages=st.integers(1, 6))
    def put(self, slot_id: int, gfn: int, npages: int) -> None:
        new = self.wanted(slot_id, gfn, npages)
        if new is not None:
            self.slots.replace(self.held.get(slot_id), new)
            self.held[slot_id] = new

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 7))
    def invalidate(self, number: int) -> None:
        old = self.any_slot(number)
        self.serial += 1
        copy = old.copy(self.serial)
        copy.flags ^= INVALID
        self.slots.replace(old, copy)
        self.held[old.id] = copy

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 7))
    def take(self, number: int) -> None:
        old = self.any_slot(number)
        self.slots.replace(old, None)
        del self.held[old.id]

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 7))
    def remember(self, number: int) -> None:
        old = self.any_slot(number)
        found = self.slots.id_to_memslot(old.id)
        assert found is not None
        self.slots.remember(found)
        assert self.slots.cached() is found

    @rule(extra=st.integers(0, 1))
    def copy(self, extra: int) -> None:
        before = self.slots
        self.slots = copied(before, extra)
        assert self.slots.array.capacity == len(self.held) + extra
        self.slots.array.capacity = 8
        assert self.slots.last_used_index == before.last_used_index
        for mine, other in zip(self.slots, before, strict=True):
            assert mine is not other

    def any_slot(self, number: int) -> MemorySlot:
        return list(self.held.values())[number % len(self.held)]

    def by_gfn(self) -> list[MemorySlot]:
        return sorted(self.held.values(), key=lambda slot: slot.base_gfn)

    @rule(start=gfns, length=st.integers(0, 12), but_for=ids)
    def slots_in_a_gfn_range(self, start: int, length: int, but_for: int) -> None:
        end = start + length
        meeting = [
            slot.serial
            for slot in self.by_gfn()
            if slot.base_gfn < end and start < slot.end_gfn
        ]
        found = list(self.slots.in_gfn_range(Gfn(start), Gfn(end)))
        assert [slot.serial for slot in found] == meeting
        other = self.slots.overlaps(Gfn(start), Gfn(end), but_for)
        assert other is next((slot for slot in found if slot.id != but_for), None)

    @rule(page=st.integers(0, 0x800), length=st.integers(1, 0x300 * PAGE_SIZE))
    def slots_in_an_hva_range(self, page: int, length: int) -> None:
        start = Hva(new_slot(0, 0).userspace_addr + page * PAGE_SIZE + 1)
        last = Hva(start + length - 1)
        found = list(self.slots.in_hva_range(start, last))
        assert [slot.serial for slot in found] == [
            slot.serial
            for slot in sorted(self.held.values(), key=lambda s: s.userspace_addr)
            if slot.userspace_addr <= last and start <= slot.last_hva
        ]

    @invariant()
    def the_array_is_whole_and_holds_what_the_dict_holds(self) -> None:
        self.slots.check()
        by_gfn = self.by_gfn()
        assert [slot.serial for slot in self.slots] == [slot.serial for slot in by_gfn]
        assert [slot.flags for slot in self.slots] == [slot.flags for slot in by_gfn]
        assert len(self.slots) == len(self.held)
        for slot_id in range(8):
            found, held = self.slots.id_to_memslot(slot_id), self.held.get(slot_id)
            assert (found and found.serial) == (held and held.serial)
        assert self.slots.last_gfn_end() == (by_gfn[-1].end_gfn if by_gfn else 0)

    @invariant()
    def every_gfn_finds_its_slot(self) -> None:
        owners = {
            gfn: slot
            for slot in self.held.values()
            for gfn in range(slot.base_gfn, slot.end_gfn)
        }
        for gfn in map(Gfn, range(LAST_GFN + 8)):
            found, owner = self.slots.search_memslots(gfn), owners.get(gfn)
            assert (found and found.serial) == (owner and owner.serial)
            read = list(self.slots.walk(gfn))
            assert bool(read) is bool(self.held)
            near = self.slots.search_memslots_approx(gfn)
            if owner is not None:
                assert read[-1] is near is found
            elif self.held:
                assert near is not None
                assert near.serial in self.neighbours(gfn)

    def neighbours(self, gfn: int) -> list[int]:
        """Serials of the slots next to a hole."""
        below = [slot.serial for slot in self.by_gfn() if slot.base_gfn <= gfn]
        above = [slot.serial for slot in self.by_gfn() if slot.base_gfn > gfn]
        return below[-1:] + above[:1]


def test_an_array_does_what_a_dict_does() -> None:
    run_state_machine_as_test(
        ArrayBesideDict,
        settings=settings(
            derandomize=True, deadline=None, max_examples=60, stateful_step_count=25
        ),
    )


# Order, by shifting.


def test_the_highest_slot_comes_first() -> None:
    assert entries(filled(0x10, 0x30, 0x20)) == [(2, 0x30), (3, 0x20), (1, 0x10)]


@pytest.mark.parametrize(
    ("gfn", "order", "shifted"),
    [
        (0x60, [3, 5, 4, 2, 1], 2),
        (0x38, [5, 4, 3, 2, 1], 0),
        (0x28, [5, 4, 3, 2, 1], 0),
        (0x18, [5, 4, 2, 3, 1], 1),
        (0x00, [5, 4, 2, 1, 3], 2),
    ],
)
def test_a_move_shifts_what_lies_between(
    gfn: int, order: list[int], shifted: int
) -> None:
    slots = copied(filled(0x10, 0x20, 0x30, 0x40, 0x50))
    slots.replace(new_slot(3, 0x30), new_slot(9, gfn, slot_id=3))
    assert [slot_id for slot_id, _ in entries(slots)] == order
    slots.check()
    assert slots.array.cost.slots_shifted == shifted


def test_a_deletion_shifts_everything_behind_it() -> None:
    slots = copied(filled(0x50, 0x40, 0x30, 0x20, 0x10))
    slots.replace(new_slot(2, 0x40), None)
    assert [slot_id for slot_id, _ in entries(slots)] == [1, 3, 4, 5]
    assert slots.array.cost.slots_shifted == 3
    slots.check()


def test_slots_appended_out_of_order_are_sorted_at_once() -> None:
    slots = new_set(capacity=3)
    for serial, gfn in enumerate((0x10, 0x30, 0x20), 1):
        slots.array.append(new_slot(serial, gfn))
    slots.array.sort()
    assert entries(slots) == [(2, 0x30), (3, 0x20), (1, 0x10)]
    slots.check()


# Copies, and pointers into them.


def test_pointers_into_one_array_stay_the_same_and_are_its_own() -> None:
    first = filled(0x10, 0x20)
    found = first.search_memslots(Gfn(0x12))
    assert found is first.id_to_memslot(1) is first.search_memslots(Gfn(0x10))
    second = copied(first)
    assert second.id_to_memslot(1) is not found
    assert second.id_to_memslot(1) is second.id_to_memslot(1)


def test_a_change_in_the_copy_is_none_in_its_source() -> None:
    first = filled(0x10, 0x20)
    second = copied(first)
    second.replace(new_slot(1, 0x10), new_slot(9, 0x40, slot_id=1))
    second.replace(new_slot(2, 0x20), None)
    assert entries(first) == [(2, 0x20), (1, 0x10)]
    assert entries(second) == [(1, 0x40)]


class Pointers:
    """Arch data with something to tell it by."""

    def __init__(self, value: int) -> None:
        self.value = value

    def copy(self) -> Pointers:
        return Pointers(self.value)


def value_of(slots: ArrayMemslots, slot_id: int = 1) -> int:
    slot = slots.id_to_memslot(slot_id)
    assert slot is not None
    assert isinstance(slot.arch, Pointers)
    return slot.arch.value


def with_arch(value: int) -> ArrayMemslots:
    slots = new_set(capacity=1)
    slots.replace(None, new_slot(1, 0x10, arch=Pointers(value)))
    return slots


def set_value(slots: ArrayMemslots, value: int) -> None:
    slot = slots.id_to_memslot(1)
    assert slot is not None
    slot.arch = Pointers(value)


def test_arch_data_that_somebody_has_set_is_copied() -> None:
    first = with_arch(1)
    untouched = copied(first)
    set_value(first, 2)
    assert (value_of(first), value_of(untouched), value_of(copied(first))) == (2, 1, 2)


def test_arch_data_alone_can_be_taken_over() -> None:
    first = with_arch(1)
    second = copied(first)
    second.replace(new_slot(1, 0x10), new_slot(9, 0x10, slot_id=1, flags=INVALID))
    set_value(second, 2)
    first.copy_arch_from(second)
    assert value_of(first) == 2
    slot = first.id_to_memslot(1)
    assert slot is not None
    assert (slot.serial, slot.flags) == (1, 0)
    set_value(second, 3)
    assert value_of(first) == 2


def test_pointers_that_are_taken_away_are_replaced() -> None:
    slots = filled(0x10)
    found = slots.id_to_memslot(1)
    assert slots.take_pointers() == [found]
    assert slots.take_pointers() == []
    again = slots.id_to_memslot(1)
    assert again is not found
    assert again is not None
    assert again.serial == 1


# The cache is an index.


def test_an_empty_array_remembers_nothing() -> None:
    assert new_set().cached() is None


def test_the_cache_names_a_place_not_a_slot() -> None:
    slots = copied(filled(0x10, 0x20), extra=1)
    found = slots.id_to_memslot(1)
    assert found is not None
    slots.remember(found)
    assert slots.last_used_index == 1
    slots.replace(None, new_slot(3, 0x30))
    cached = slots.cached()
    assert cached is not None
    assert cached.id == 2


@pytest.mark.parametrize(("remembered", "deleted", "index"), [(1, 2, 0), (2, 1, 0)])
def test_the_cache_stays_inside_a_shorter_array(
    remembered: int, deleted: int, index: int
) -> None:
    slots = copied(filled(0x10, 0x20))
    found = slots.id_to_memslot(remembered)
    assert found is not None
    slots.remember(found)
    slots.replace(new_slot(deleted, 0x10 * deleted), None)
    assert slots.last_used_index == index
    slots.check()
    slots.replace(new_slot(remembered, 0x10 * remembered), None)
    assert slots.cached() is None


class Forgetful(ArrayMemslots):
    """Lets the cache point behind the end."""

    __slots__ = ()

    def reset_last_used(self) -> None:
        pass


def test_a_cache_that_is_not_reset_points_behind_the_array() -> None:
    first = filled(0x10, 0x20)
    slots = Forgetful(
        0,
        1,
        IDS,
        first.array.cost,
        first.generation_location,
        first.generation_location,
    )
    slots.copy_from(first, extra=0)
    slots.last_used_index = 1
    slots.replace(new_slot(1, 0x10), None)
    with pytest.raises(OutOfArray, match=r"^entry 1 of set 1 of address space 0 was"):
        slots.cached()
    with pytest.raises(StructureBroken, match="last_used_slot is entry 1 of 1"):
        slots.check()


# What is refused.


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (None, new_slot(9, 0x40, slot_id=1), "id of <slot 1 #9 gfn 0x40..0x44> is"),
        (None, new_slot(9, 0x40, 0), "<slot 9 #9 gfn 0x40..0x40> is empty"),
        (None, new_slot(9, 0x20), "begins where <slot 2 #2"),
        (new_slot(9, 0x40), None, "<slot 9 #9 gfn 0x40..0x44> is not in it"),
        (new_slot(8, 0x10, slot_id=1), None, "<slot 1 #8 gfn 0x10..0x14> is not in it"),
        (new_slot(1, 0x10), new_slot(9, 0x20, slot_id=1), "begins where <slot 2 #2"),
        (new_slot(2, 0x20), new_slot(9, 0x10, slot_id=2), "begins where <slot 1 #1"),
    ],
)
def test_what_does_not_fit_is_refused(
    old: MemorySlot | None, new: MemorySlot | None, rule: str
) -> None:
    slots = copied(filled(0x10, 0x20, 0x30), extra=1)
    with pytest.raises(StructureBroken, match=rule):
        slots.replace(old, new)


def test_there_is_memory_for_one_slot_more_only_if_asked_for() -> None:
    with pytest.raises(StructureBroken, match=r"no memory for <slot 9 #9 .* 2 slots"):
        copied(filled(0x10, 0x20)).replace(None, new_slot(9, 0x40))


def shorter_memory(slots: ArrayMemslots) -> None:
    slots.array.capacity = 1


def an_id_too_many(slots: ArrayMemslots) -> None:
    slots.array.id_to_index[5] = 0


def a_wrong_index(slots: ArrayMemslots) -> None:
    slots.array.id_to_index[1] = 0


def a_lost_id(slots: ArrayMemslots) -> None:
    slots.array.id_to_index[1] = ABSENT


def wrong_order(slots: ArrayMemslots) -> None:
    slots.array.entries.reverse()
    slots.array.id_to_index[1], slots.array.id_to_index[2] = 0, 1


def a_wrong_id(slots: ArrayMemslots) -> None:
    slots.array.ids[0] = 7


def two_that_meet(slots: ArrayMemslots) -> None:
    slots.array.entries[0].base_gfn = Gfn(0x13)


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (shorter_memory, "there is memory for 1 slots only"),
        (an_id_too_many, "an id names no slot"),
        (a_wrong_id, "ids are out of order"),
        (a_wrong_index, "index of <slot 1 #1 gfn 0x10..0x14> is 0, not 1"),
        (a_lost_id, "index of <slot 1 #1 gfn 0x10..0x14> is -1, not 1"),
        (wrong_order, "<slot 2 #2 gfn 0x20..0x24> meets <slot 1 #1 gfn 0x10..0x14>"),
        (two_that_meet, "<slot 1 #1 gfn 0x10..0x14> meets <slot 2 #2 gfn 0x13..0x17>"),
    ],
)
def test_damage_is_found(damage: Callable[[ArrayMemslots], None], rule: str) -> None:
    slots = filled(0x10, 0x20)
    slots.check()
    damage(slots)
    with pytest.raises(StructureBroken, match=rule):
        slots.check()


# What it costs.


def test_scans_visit_every_slot_and_searches_a_few() -> None:
    slots = filled(*range(0, 0x400, 0x10))
    cost = slots.array.cost
    before = cost.slots_visited
    slots.search_memslots(Gfn(0x102))
    assert cost.slots_visited - before == 7
    before = cost.slots_visited
    assert [slot.id for slot in slots.in_hva_range(Hva(0), Hva(0))] == []
    assert cost.slots_visited - before == 64
    assert slots.overlaps(Gfn(0x8), Gfn(0x9), 0) is None
    assert cost.slots_visited - before == 128


def test_a_copy_costs_all_slots_and_all_ids() -> None:
    slots = copied(filled(0x10, 0x20, 0x30))
    assert (slots.array.cost.slots_copied, slots.array.cost.ids_copied) == (3, IDS)
