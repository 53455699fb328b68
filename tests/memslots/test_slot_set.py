"""Two sets that share slots, against plain dicts; and each thing `check` must find."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from memslots.indexes.errors import StructureBroken
from memslots.slot import INVALID, MemorySlot
from memslots.slot_set import Memslots
from memslots.units import PAGE_SIZE, Gfn, Hva, Pages

LAST_GFN = 40

which_set = st.sampled_from([0, 1])
ids = st.integers(0, 7)
gfns = st.integers(0, LAST_GFN)
# Few host pages, so that host ranges overlap and begin together.
hva_pages = st.integers(0, 5)


def new_slot(
    slot_id: int, gfn: int, npages: int = 2, hva_page: int = 0, serial: int = 0
) -> MemorySlot:
    return MemorySlot(
        serial=serial,
        as_id=0,
        id=slot_id,
        base_gfn=Gfn(gfn),
        npages=Pages(npages),
        userspace_addr=Hva(hva_page * PAGE_SIZE),
    )


class AgainstDicts(RuleBasedStateMachine):
    """The sets differ in one slot at most, as during an update."""

    def __init__(self) -> None:
        super().__init__()
        self.sets = (Memslots(0, 0), Memslots(0, 1))
        # By id, in the order in which they entered the set.
        self.held: tuple[dict[int, MemorySlot], ...] = ({}, {})
        self.differing: int | None = None

    def replace(
        self, idx: int, slot_id: int, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        slots, held, other = self.sets[idx], self.held[idx], self.held[1 - idx]
        cached = slots.last_used_slot
        slots.replace(old, new)
        assert slots.last_used_slot is (
            new if cached is not None and cached is old else cached
        )
        held.pop(slot_id, None)
        if new is not None:
            held[slot_id] = new
        agree = held.get(slot_id) is other.get(slot_id)
        self.differing = None if agree else slot_id

    def is_free(self, idx: int, slot_id: int, gfn: int, npages: int) -> bool:
        return all(
            slot.end_gfn <= gfn or gfn + npages <= slot.base_gfn
            for slot in self.held[idx].values()
            if slot.id != slot_id
        )

    @rule(
        idx=which_set, slot_id=ids, gfn=gfns, npages=st.integers(1, 4), page=hva_pages
    )
    def enter_or_move(
        self, idx: int, slot_id: int, gfn: int, npages: int, page: int
    ) -> None:
        slot_id = slot_id if self.differing is None else self.differing
        if self.is_free(idx, slot_id, gfn, npages):
            new = new_slot(slot_id, gfn, npages, page)
            self.replace(idx, slot_id, self.held[idx].get(slot_id), new)

    @precondition(lambda self: any(self.held))
    @rule(idx=which_set, number=st.integers(0, 7), leave=st.booleans())
    def leave_or_give_place_to_a_copy(
        self, idx: int, number: int, *, leave: bool
    ) -> None:
        held = self.held[idx]
        if self.differing is None:
            slot_id = list(held)[number % len(held)]
        else:
            slot_id = self.differing
        if (old := held.get(slot_id)) is not None:
            copy = old.copy(old.serial + 1)
            copy.flags ^= INVALID
            self.replace(idx, slot_id, old, None if leave else copy)

    @precondition(lambda self: self.differing is not None)
    @rule(idx=which_set)
    def follow_the_other_set(self, idx: int) -> None:
        if self.differing is not None:
            slot_id = self.differing
            ours, theirs = (held.get(slot_id) for held in self.in_order(idx))
            self.replace(idx, slot_id, ours, theirs)
            assert self.differing is None

    def in_order(self, idx: int) -> tuple[dict[int, MemorySlot], ...]:
        return self.held[idx], self.held[1 - idx]

    @precondition(lambda self: any(self.held))
    @rule(idx=which_set, number=st.integers(0, 7))
    def look_up_and_remember(self, idx: int, number: int) -> None:
        if by_gfn := self.by_gfn(idx):
            slot = by_gfn[number % len(by_gfn)]
            found = self.sets[idx].search_memslots(Gfn(slot.end_gfn - 1))
            assert found is slot
            self.sets[idx].last_used_slot = found

    @rule(idx=which_set, start=gfns, length=st.integers(1, 12), but_for=ids)
    def slots_in_a_gfn_range(
        self, idx: int, start: int, length: int, but_for: int
    ) -> None:
        slots, end = self.sets[idx], Gfn(start + length)
        meeting = [
            slot
            for slot in self.by_gfn(idx)
            if slot.base_gfn < end and start < slot.end_gfn
        ]
        assert list(slots.in_gfn_range(Gfn(start), end)) == meeting
        others = [slot for slot in meeting if slot.id != but_for]
        assert slots.overlaps(Gfn(start), end, but_for) is next(iter(others), None)

    @rule(idx=which_set, page=hva_pages, length=st.integers(1, 3 * PAGE_SIZE))
    def slots_in_an_hva_range(self, idx: int, page: int, length: int) -> None:
        start = Hva(page * PAGE_SIZE + 1)
        last = Hva(start + length - 1)
        by_hva = sorted(self.held[idx].values(), key=lambda slot: slot.userspace_addr)
        assert list(self.sets[idx].in_hva_range(start, last)) == [
            slot
            for slot in by_hva
            if slot.userspace_addr <= last and start <= slot.last_hva
        ]

    def by_gfn(self, idx: int) -> list[MemorySlot]:
        return sorted(self.held[idx].values(), key=lambda slot: slot.base_gfn)

    @invariant()
    def both_sets_are_whole_and_hold_what_the_dicts_hold(self) -> None:
        for idx, slots in enumerate(self.sets):
            slots.check()
            assert list(slots) == self.by_gfn(idx)
            assert len(slots) == len(self.held[idx])
            for slot_id in range(8):
                assert slots.id_to_memslot(slot_id) is self.held[idx].get(slot_id)

    @invariant()
    def every_gfn_finds_its_slot(self) -> None:
        for idx, slots in enumerate(self.sets):
            by_gfn = self.by_gfn(idx)
            owners = {
                gfn: slot
                for slot in by_gfn
                for gfn in range(slot.base_gfn, slot.end_gfn)
            }
            for gfn in map(Gfn, range(LAST_GFN + 5)):
                assert slots.search_memslots(gfn) is owners.get(gfn)
                read = list(slots.walk(gfn))
                if gfn in owners:
                    assert read[-1] is owners[gfn]
                below = [slot for slot in by_gfn if slot.base_gfn <= gfn]
                above = by_gfn[len(below) :]
                found = slots.search_memslots_approx(gfn)
                if gfn in owners:
                    assert found is owners[gfn]
                elif by_gfn:
                    assert found in below[-1:] + above[:1]
                else:
                    assert found is None


AgainstDicts.TestCase.settings = settings(
    derandomize=True, deadline=None, max_examples=50, stateful_step_count=25
)
TestAgainstDicts = pytest.mark.slow(AgainstDicts.TestCase)


def test_replacing_in_one_set_leaves_the_nodes_of_the_other_alone() -> None:
    first, second = Memslots(0, 0), Memslots(0, 1)
    old, new = new_slot(1, 8), new_slot(1, 8)
    for slots in (first, second):
        slots.replace(None, old)
    first.replace(old, new)
    assert [old.gfn_node[0].linked, old.hva_node[0].linked] == [False, False]
    assert [old.gfn_node[1].linked, old.hva_node[1].linked] == [True, True]
    assert [new.gfn_node[0].linked, new.hva_node[0].linked] == [True, True]
    assert [new.gfn_node[1].linked, new.hva_node[1].linked] == [False, False]


def test_a_new_set_is_empty_and_numbered_by_its_address_space() -> None:
    for as_id in (0, 1):
        slots = Memslots(as_id, 1)
        assert list(slots) == []
        assert (slots.generation, slots.node_idx) == (as_id, 1)
        assert slots.last_used_slot is None
        assert slots.search_memslots_approx(Gfn(0)) is None


def test_a_slot_that_is_not_in_the_set_cannot_leave_it() -> None:
    slots = Memslots(0, 0)
    slots.replace(None, new_slot(1, 8))
    with pytest.raises(StructureBroken, match="id 1 belongs to"):
        slots.replace(new_slot(1, 8), None)


@pytest.mark.parametrize(
    ("new", "rule_broken"), [((1, 20), "id 1"), ((2, 8), "already|taken|equal|8")]
)
def test_neither_id_nor_first_gfn_can_be_taken_twice(
    new: tuple[int, int], rule_broken: str
) -> None:
    slots = Memslots(0, 0)
    slots.replace(None, new_slot(1, 8))
    with pytest.raises(StructureBroken, match=rule_broken):
        slots.replace(None, new_slot(*new))


@pytest.mark.parametrize("gfn", [None, 8, 20])
def test_the_cache_follows_the_slot_that_it_names(gfn: int | None) -> None:
    first, second = Memslots(0, 0), Memslots(0, 1)
    old = new_slot(1, 8)
    for slots in (first, second):
        slots.replace(None, old)
        slots.last_used_slot = old
    new = None if gfn is None else new_slot(1, gfn)
    first.replace(old, new)
    assert first.last_used_slot is new
    assert second.last_used_slot is old


def test_the_cache_stays_when_another_slot_is_replaced() -> None:
    slots = Memslots(0, 0)
    cached, other = new_slot(1, 8), new_slot(2, 12)
    slots.replace(None, cached)
    slots.replace(None, other)
    slots.last_used_slot = cached
    slots.replace(other, None)
    assert slots.last_used_slot is cached


def test_a_copy_at_the_same_gfn_takes_the_very_place_in_the_tree() -> None:
    slots = Memslots(0, 0)
    three = [new_slot(n, 8 * n) for n in (1, 2, 3)]
    for slot in three:
        slots.replace(None, slot)
    root = slots.gfn_tree.root
    assert root is not None
    assert root.owner is three[1]
    below = (root.left, root.right)
    copy = three[1].copy(9)
    slots.replace(three[1], copy)
    root = slots.gfn_tree.root
    assert root is copy.gfn_node[0]
    assert (root.left, root.right) == below


def test_nothing_in_the_place_of_nothing_changes_nothing() -> None:
    slots = Memslots(0, 0)
    slots.replace(None, new_slot(1, 8))
    slots.replace(None, None)
    assert repr(slots) == "<set 0 of address space 0: [<slot 1 #0 gfn 0x8..0xa>]>"


class Planted(NamedTuple):
    """A set of three slots at gfn 8, 12 and 16 that somebody damages."""

    slots: Memslots
    low: MemorySlot
    middle: MemorySlot
    high: MemorySlot


def a_slot_left_the_gfn_tree(planted: Planted) -> None:
    planted.slots.gfn_tree.erase(planted.middle.gfn_node[0])


def a_slot_left_the_hva_tree(planted: Planted) -> None:
    planted.slots.hva_tree.erase(planted.middle.hva_node[0])


def a_slot_left_the_ids(planted: Planted) -> None:
    planted.slots.id_hash.remove(planted.middle)


def an_id_names_a_slot_in_no_tree(planted: Planted) -> None:
    planted.slots.id_hash.add(new_slot(9, 30))


def a_copy_has_the_id(planted: Planted) -> None:
    planted.slots.id_hash.remove(planted.middle)
    planted.slots.id_hash.add(planted.middle.copy(9))


def another_slot_is_in_the_hva_tree(planted: Planted) -> None:
    twin = planted.middle.copy(9)
    twin.hva_node[0].set_range(twin.userspace_addr, twin.last_hva)
    planted.slots.hva_tree.replace(planted.middle.hva_node[0], twin.hva_node[0])


def a_slot_grew_into_the_next(planted: Planted) -> None:
    planted.low.npages = Pages(5)


def a_slot_shrank_to_nothing(planted: Planted) -> None:
    planted.low.npages = Pages(0)


def a_slot_moved_while_it_was_linked(planted: Planted) -> None:
    planted.low.base_gfn = Gfn(40)


def a_slot_changed_its_id(planted: Planted) -> None:
    planted.low.id = 9


def a_slot_changed_its_host_address(planted: Planted) -> None:
    planted.low.userspace_addr = Hva(0x7000)


def a_slot_grew_in_the_host(planted: Planted) -> None:
    planted.low.npages = Pages(3)


def the_cache_names_a_slot_of_the_other_set(planted: Planted) -> None:
    planted.slots.last_used_slot = planted.low.copy(9)


def a_tree_lost_its_colours(planted: Planted) -> None:
    for slot in (planted.low, planted.middle, planted.high):
        slot.gfn_node[0].red = True


def a_subtree_forgot_how_far_it_reaches(planted: Planted) -> None:
    planted.middle.hva_node[0].subtree_last += 1


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (a_slot_left_the_gfn_tree, "gfn and hva trees differ"),
        (a_slot_left_the_hva_tree, "gfn and hva trees differ"),
        (another_slot_is_in_the_hva_tree, "gfn and hva trees differ"),
        (a_slot_left_the_ids, "gfn tree and ids differ"),
        (a_copy_has_the_id, "gfn tree and ids differ"),
        (an_id_names_a_slot_in_no_tree, "an id names no slot"),
        (a_slot_grew_into_the_next, "2 pages at gfn 12, free from 13"),
        (a_slot_shrank_to_nothing, "0 pages at gfn 8"),
        (a_slot_moved_while_it_was_linked, "40"),
        (a_slot_changed_its_id, "has id 9, was added under id 1"),
        (a_slot_changed_its_host_address, "hva range of <slot 1"),
        (a_slot_grew_in_the_host, "hva range of <slot 1"),
        (the_cache_names_a_slot_of_the_other_set, "last_used_slot <slot 1 #9"),
        (a_tree_lost_its_colours, "red"),
        (a_subtree_forgot_how_far_it_reaches, "subtree_last"),
    ],
)
def test_check_finds(damage: Callable[[Planted], None], found: str) -> None:
    slots = Memslots(0, 0)
    three = tuple(new_slot(n, 4 + 4 * n, hva_page=2 * n) for n in (1, 2, 3))
    for slot in three:
        slots.replace(None, slot)
    slots.check()
    damage(Planted(slots, *three))
    with pytest.raises(StructureBroken, match=found):
        slots.check()
