"""A slot by itself: its range, its copy, its names."""

from __future__ import annotations

import pytest

from memslots.dirty_bitmap import DirtyBitmap
from memslots.guest_memfd import GuestMemfd
from memslots.slot import (
    INVALID,
    LOG_DIRTY_PAGES,
    READONLY,
    ArchData,
    MemFlag,
    MemorySlot,
    SlotId,
    slot_if_contains,
)
from memslots.slot_set import Memslots
from memslots.units import Gfn, Hva, Pages

HVA = Hva(0x7F00_0000_0000)


class Arrays:
    """Arch data: a pointer to a list."""

    def __init__(self, rmap: list[int]) -> None:
        self.rmap = rmap

    def copy(self) -> ArchData:
        return Arrays(self.rmap)


def new_slot(flags: int = 0, slot_id: int = 3) -> MemorySlot:
    return MemorySlot(
        serial=1,
        as_id=0,
        id=slot_id,
        base_gfn=Gfn(0x10),
        npages=Pages(4),
        userspace_addr=HVA,
        flags=flags,
    )


def test_flags_have_the_bits_that_the_ioctl_has() -> None:
    assert {flag.name: int(flag) for flag in MemFlag} == {
        "LOG_DIRTY_PAGES": 1,
        "READONLY": 2,
        "GUEST_MEMFD": 4,
        "INVALID": 0x10000,
    }


@pytest.mark.parametrize(
    ("field", "as_id", "slot_id"),
    [(0, 0, 0), (5, 0, 5), (0xFFFF, 0, 0xFFFF), (0x10000, 1, 0), (0x2_0007, 2, 7)],
)
def test_the_address_space_is_in_the_high_half_of_the_slot_field(
    field: int, as_id: int, slot_id: int
) -> None:
    assert SlotId.of(field) == SlotId(as_id, slot_id)


def test_a_slot_id_reads_as_a_sentence() -> None:
    assert str(SlotId.of(0x1_0007)) == "slot 7 of address space 1"


def test_the_gfn_range_is_half_open_and_the_hva_range_inclusive() -> None:
    slot = new_slot()
    assert slot.end_gfn == 0x14
    assert slot.last_hva == HVA + 0x3FFF


@pytest.mark.parametrize(
    ("gfn", "inside"), [(0xF, False), (0x10, True), (0x13, True), (0x14, False)]
)
def test_a_slot_contains_its_first_and_its_last_page(gfn: int, inside: bool) -> None:  # noqa: FBT001 - a column
    slot = new_slot()
    assert slot.contains(Gfn(gfn)) is inside
    assert slot_if_contains(slot, Gfn(gfn)) is (slot if inside else None)


def test_no_slot_contains_nothing() -> None:
    assert slot_if_contains(None, Gfn(0)) is None


def test_each_page_has_its_host_address() -> None:
    slot = new_slot()
    assert [slot.hva_of(Gfn(gfn)) for gfn in (0x10, 0x13)] == [HVA, HVA + 0x3000]


def test_a_copy_has_the_same_data_and_its_own_serial() -> None:
    slot = new_slot(LOG_DIRTY_PAGES | READONLY)
    slot.dirty_bitmap = DirtyBitmap(4)
    slot.guest_memfd = (GuestMemfd(0x4000), 0)
    twin = slot.copy(2)
    assert (slot.serial, twin.serial) == (1, 2)
    for name in ("as_id", "id", "base_gfn", "npages", "userspace_addr", "flags"):
        assert getattr(twin, name) == getattr(slot, name)
    assert twin.dirty_bitmap is slot.dirty_bitmap
    assert twin.guest_memfd is slot.guest_memfd


def test_a_copy_has_its_own_pointers_to_the_same_arrays() -> None:
    slot = new_slot()
    arrays = slot.arch = Arrays([1])
    twin = slot.copy(2)
    assert isinstance(twin.arch, Arrays)
    assert twin.arch is not arrays
    assert twin.arch.rmap is arrays.rmap


def test_a_copy_takes_no_place_in_any_set() -> None:
    slot = new_slot()
    sets = (Memslots(0, 0), Memslots(0, 1))
    for slots in sets:
        slots.replace(None, slot)
    twin = slot.copy(2)
    assert all(node.linked for node in slot.gfn_node + slot.hva_node)
    assert not any(node.linked for node in twin.gfn_node + twin.hva_node)
    assert all(node.owner is twin for node in twin.gfn_node + twin.hva_node)
    assert [list(slots) for slots in sets] == [[slot], [slot]]


def test_an_invalid_slot_says_so() -> None:
    assert repr(new_slot()) == "<slot 3 #1 gfn 0x10..0x14>"
    assert repr(new_slot(INVALID)) == "<slot 3 #1 gfn 0x10..0x14, INVALID>"
