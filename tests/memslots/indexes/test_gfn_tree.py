"""The gfn tree against a dict of ranges, with both node sets in use."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from memslots.indexes.errors import StructureBroken
from memslots.indexes.gfn_tree import GfnTree
from memslots.indexes.rbtree import RbNode
from memslots.units import Gfn, Pages

LAST_GFN = 48
sets = st.sampled_from([0, 1])
gfns = st.integers(min_value=0, max_value=LAST_GFN)
sizes = st.integers(min_value=1, max_value=5)
picks = st.integers(min_value=0, max_value=1000)


@dataclass(eq=False)
class Range:
    """An owner with one node per set, as a slot has."""

    base_gfn: Gfn
    npages: Pages
    nodes: tuple[RbNode[Range], RbNode[Range]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.nodes = (RbNode(self), RbNode(self))

    @property
    def end(self) -> int:
        return self.base_gfn + self.npages


def new_range(base_gfn: int, npages: int) -> Range:
    return Range(Gfn(base_gfn), Pages(npages))


def tree_of(*ranges: tuple[int, int]) -> tuple[GfnTree[Range], list[Range]]:
    tree: GfnTree[Range] = GfnTree()
    owners = [new_range(base, npages) for base, npages in ranges]
    for owner in owners:
        tree.insert(owner.nodes[0])
    tree.check()
    return tree, owners


def in_range(tree: GfnTree[Range], start: int, end: int) -> list[Range]:
    return list(tree.in_gfn_range(Gfn(start), Gfn(end)))


def walked(tree: GfnTree[Range], gfn: Gfn) -> tuple[list[RbNode[Range]], Range | None]:
    path, steps = [], tree.walk(gfn)
    while True:
        try:
            path.append(next(steps))
        except StopIteration as end:
            return path, end.value


class AgainstADict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.trees: tuple[GfnTree[Range], GfnTree[Range]] = (GfnTree(), GfnTree())
        self.models: tuple[dict[int, Range], dict[int, Range]] = ({}, {})

    def in_order(self, which: int) -> list[Range]:
        model = self.models[which]
        return [model[base] for base in sorted(model)]

    def pick(self, which: int, number: int) -> Range | None:
        owners = self.in_order(which)
        return owners[number % len(owners)] if owners else None

    def fits(self, which: int, new: Range) -> bool:
        return all(
            old.end <= new.base_gfn or new.end <= old.base_gfn
            for old in self.models[which].values()
        )

    @rule(which=sets, ranges=st.lists(st.tuples(gfns, sizes), min_size=1, max_size=6))
    def insert(self, which: int, ranges: list[tuple[int, int]]) -> None:
        for base_gfn, npages in ranges:
            new = new_range(base_gfn, npages)
            if self.fits(which, new):
                self.models[which][base_gfn] = new
                self.trees[which].insert(new.nodes[which])

    @rule(which=sets, number=picks)
    def insert_into_the_other_set_too(self, which: int, number: int) -> None:
        owner, other = self.pick(which, number), 1 - which
        if owner is not None and self.fits(other, owner):
            self.models[other][owner.base_gfn] = owner
            self.trees[other].insert(owner.nodes[other])

    @rule(which=sets, number=picks, npages=sizes)
    def a_taken_gfn_is_refused(self, which: int, number: int, npages: int) -> None:
        owner = self.pick(which, number)
        if owner is not None:
            twin = new_range(owner.base_gfn, npages)
            with pytest.raises(StructureBroken, match="is taken"):
                self.trees[which].insert(twin.nodes[which])
            assert not twin.nodes[which].linked

    @rule(which=sets, number=picks)
    def erase(self, which: int, number: int) -> None:
        owner = self.pick(which, number)
        if owner is not None:
            del self.models[which][owner.base_gfn]
            self.trees[which].erase(owner.nodes[which])

    @rule(which=sets, number=picks)
    def replace(self, which: int, number: int) -> None:
        old = self.pick(which, number)
        if old is not None:
            new = new_range(old.base_gfn, old.npages)
            self.models[which][old.base_gfn] = new
            self.trees[which].replace(old.nodes[which], new.nodes[which])

    @rule(which=sets, start=gfns, end=gfns)
    def query_a_range(self, which: int, start: int, end: int) -> None:
        expected = [
            owner
            for owner in self.in_order(which)
            if owner.base_gfn < end and owner.end > start
        ]
        assert in_range(self.trees[which], start, end) == expected

    @precondition(lambda self: any(self.models))
    @rule(which=sets)
    def query_along_all_borders(self, which: int) -> None:
        for owner in self.in_order(which):
            self.query_a_range(which, owner.base_gfn, owner.end)
            self.query_a_range(which, owner.end, owner.end + 1)
            self.query_a_range(which, max(owner.base_gfn - 1, 0), owner.base_gfn)

    @invariant()
    def every_rule_holds(self) -> None:
        for which in (0, 1):
            self.trees[which].check()
            owners = [node.owner for node in self.trees[which]]
            assert owners == self.in_order(which)
            assert self.trees[which].last_end() == (owners[-1].end if owners else 0)

    @invariant()
    def each_gfn_is_found_where_it_is(self) -> None:
        for which in (0, 1):
            tree, owners = self.trees[which], self.in_order(which)
            for number in range(LAST_GFN + 6):
                gfn = Gfn(number)
                below = [owner for owner in owners if owner.base_gfn <= gfn]
                above = [owner for owner in owners if owner.base_gfn > gfn]
                hit = below[-1] if below and gfn < below[-1].end else None
                path, walk_found = walked(tree, gfn)
                assert tree.find(gfn) is walk_found is hit
                approx = tree.find_approx(gfn)
                assert approx is (path[-1].owner if path else None)
                assert hit is None or approx is hit
                assert approx in [*below[-1:], *above[:1], *([] if owners else [None])]


AgainstADict.TestCase.settings = settings(
    derandomize=True, deadline=None, max_examples=100, stateful_step_count=25
)
TestAgainstADict = pytest.mark.slow(AgainstADict.TestCase)


class TestRangeQuery:
    def test_touching_ranges_do_not_overlap(self) -> None:
        tree, (low, _, high) = tree_of((10, 5), (15, 5), (20, 5))
        assert in_range(tree, 5, 10) == []
        assert in_range(tree, 5, 11) == [low]
        assert in_range(tree, 24, 30) == [high]
        assert in_range(tree, 25, 30) == []

    def test_a_range_that_ends_where_the_query_starts_is_skipped(self) -> None:
        tree, (_, middle, _) = tree_of((10, 5), (15, 5), (20, 5))
        assert in_range(tree, 15, 20) == [middle]

    def test_an_empty_range_inside_an_owner_still_yields_it(self) -> None:
        tree, (owner,) = tree_of((10, 5))
        assert in_range(tree, 12, 12) == [owner]

    @pytest.mark.parametrize("gfn", [9, 10, 15])
    def test_an_empty_range_elsewhere_yields_nothing(self, gfn: int) -> None:
        tree, _ = tree_of((10, 5))
        assert in_range(tree, gfn, gfn) == []

    def test_an_empty_tree_yields_nothing(self) -> None:
        tree, _ = tree_of()
        assert in_range(tree, 0, 1 << 52) == []


class TestWalk:
    def test_goes_from_the_root_to_a_child_each_time(self) -> None:
        tree, owners = tree_of(*((4 * i, 2) for i in range(31)))
        path, found = walked(tree, Gfn(61))
        assert found is owners[15]
        assert path[0] is tree.root
        for above, below in pairwise(path):
            assert below.parent is above

    def test_reads_a_node_only_after_having_yielded_it(self) -> None:
        tree, (owner,) = tree_of((10, 5))
        steps = tree.walk(Gfn(12))
        next(steps)
        late = new_range(12, 1)
        owner.nodes[0].owner = late
        with pytest.raises(StopIteration) as end:
            next(steps)
        assert end.value.value is late

    def test_reads_the_root_only_when_started(self) -> None:
        tree, _ = tree_of()
        steps = tree.walk(Gfn(12))
        late = new_range(10, 5)
        tree.insert(late.nodes[0])
        assert next(steps) is late.nodes[0]


def test_nothing_is_found_in_an_empty_tree() -> None:
    tree, _ = tree_of()
    assert tree.find(Gfn(0)) is tree.find_approx(Gfn(0)) is None
    assert tree.last_end() == 0


@pytest.mark.parametrize("gfn", [9, 11])
def test_replacing_needs_the_same_gfn(gfn: int) -> None:
    tree, (owner,) = tree_of((10, 5))
    with pytest.raises(StructureBroken, match="cannot stand"):
        tree.replace(owner.nodes[0], new_range(gfn, 5).nodes[0])
    tree.check()


def test_a_refused_insert_leaves_the_tree_as_it_was() -> None:
    tree, owners = tree_of((10, 5), (20, 5), (30, 5))
    with pytest.raises(StructureBroken, match=r"gfn 20 .* is taken .*\[10, 20, 30\]"):
        tree.insert(new_range(20, 1).nodes[0])
    tree.check()
    assert [node.owner for node in tree] == owners


class TestCheckFindsDamage:
    def test_overlapping_ranges(self) -> None:
        tree, (low, _) = tree_of((10, 5), (15, 5))
        low.npages = Pages(6)
        with pytest.raises(StructureBroken, match="at gfn 15, free from 16"):
            tree.check()

    @pytest.mark.parametrize("npages", [0, -1])
    def test_an_empty_owner(self, npages: int) -> None:
        tree, (owner,) = tree_of((10, 5))
        owner.npages = Pages(npages)
        with pytest.raises(StructureBroken, match=f": {npages} pages at gfn 10"):
            tree.check()

    def test_an_owner_below_the_first_page(self) -> None:
        tree, (owner,) = tree_of((10, 5))
        owner.base_gfn = Gfn(-1)
        with pytest.raises(StructureBroken, match="5 pages at gfn -1, free from 0"):
            tree.check()

    def test_an_owner_that_moved_while_linked(self) -> None:
        tree, (low, _) = tree_of((10, 5), (20, 5))
        low.base_gfn = Gfn(30)
        with pytest.raises(StructureBroken, match=r"key 20 .* behind key 30"):
            tree.check()
