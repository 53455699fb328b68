"""The id table against the kernel's chains, written out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from memslots.indexes.errors import StructureBroken
from memslots.indexes.id_hash import BUCKETS, IdHash, bucket_of

# Few enough to meet again, and some that share the buckets of others.
ids = st.integers(min_value=0, max_value=12) | st.integers(min_value=0, max_value=400)
picks = st.integers(min_value=0, max_value=1000)


@dataclass(eq=False)
class Owner:
    id: int


def chain_of(slot_id: int) -> int:
    return slot_id * 0x61C88647 % 2**32 // 2**25


class AgainstChains(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table: IdHash[Owner] = IdHash()
        self.chains: list[list[Owner]] = [[] for _ in range(128)]

    @property
    def owners(self) -> list[Owner]:
        return [owner for chain in self.chains for owner in chain]

    @rule(new=st.lists(ids, min_size=1, max_size=20))
    def add(self, new: list[int]) -> None:
        for slot_id in new:
            owner = Owner(slot_id)
            if self.table.find(slot_id) is None:
                self.table.add(owner)
                self.chains[chain_of(slot_id)].insert(0, owner)
            else:
                with pytest.raises(StructureBroken, match="is taken"):
                    self.table.add(owner)

    @precondition(lambda self: self.owners)
    @rule(number=picks)
    def remove(self, number: int) -> None:
        owner = self.owners[number % len(self.owners)]
        self.table.remove(owner)
        self.chains[chain_of(owner.id)].remove(owner)

    @precondition(lambda self: self.owners)
    @rule(number=picks)
    def a_copy_takes_the_place(self, number: int) -> None:
        owner = self.owners[number % len(self.owners)]
        chain = self.chains[chain_of(owner.id)]
        chain.remove(owner)
        chain.insert(0, Owner(owner.id))
        self.table.remove(owner)
        self.table.add(chain[0])

    @rule(slot_id=ids)
    def remove_what_is_not_stored(self, slot_id: int) -> None:
        with pytest.raises(StructureBroken, match=f"id {slot_id} belongs to"):
            self.table.remove(Owner(slot_id))

    @rule(slot_id=ids)
    def find(self, slot_id: int) -> None:
        found = [owner for owner in self.owners if owner.id == slot_id]
        assert self.table.find(slot_id) is (found[0] if found else None)

    @invariant()
    def a_pass_meets_the_owners_as_the_chains_do(self) -> None:
        self.table.check()
        assert list(self.table.in_bucket_order()) == self.owners
        assert len(self.table) == len(self.owners)


AgainstChains.TestCase.settings = settings(
    derandomize=True, deadline=None, max_examples=60, stateful_step_count=25
)
TestAgainstChains = pytest.mark.slow(AgainstChains.TestCase)


def test_ids_in_a_row_fill_all_buckets_evenly() -> None:
    filled = [0] * BUCKETS
    for slot_id in range(512):
        filled[bucket_of(slot_id)] += 1
    assert max(filled) <= 5
    assert min(filled) >= 2


@pytest.mark.parametrize("slot_id", [32_763, 1 << 25, (1 << 32) - 1])
def test_a_large_id_has_the_bucket_of_its_product(slot_id: int) -> None:
    assert bucket_of(slot_id) == chain_of(slot_id)


def test_a_negative_id_has_a_bucket_as_in_32_bits() -> None:
    assert bucket_of(-1) == bucket_of(2**32 - 1)


def test_the_same_owner_cannot_be_added_twice() -> None:
    table: IdHash[Owner] = IdHash()
    owner = Owner(3)
    table.add(owner)
    with pytest.raises(StructureBroken, match=r"id 3 .* is taken"):
        table.add(owner)


@pytest.mark.parametrize("slot_id", [2, 4])
def test_check_finds_an_owner_whose_id_changed(slot_id: int) -> None:
    table: IdHash[Owner] = IdHash()
    owner = Owner(3)
    table.add(owner)
    owner.id = slot_id
    rule = f"has id {slot_id}, was added under id 3"
    with pytest.raises(StructureBroken, match=rule):
        table.check()
