"""The interval tree against a sorted list of ranges."""

from __future__ import annotations

from bisect import insort_right
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from memslots.indexes.errors import StructureBroken
from memslots.indexes.interval_tree import IntervalNode, IntervalTree

TOP = 40
values = st.integers(min_value=0, max_value=TOP)
lengths = st.integers(min_value=1, max_value=6) | st.integers(min_value=1, max_value=30)
picks = st.integers(min_value=0, max_value=1000)
ranges = st.builds(lambda start, length: (start, start + length - 1), values, lengths)

Node = IntervalNode[str]


def start_of(node: Node) -> int:
    return node.start


def tree_of(*bounds: tuple[int, int]) -> tuple[IntervalTree[str], list[Node]]:
    tree: IntervalTree[str] = IntervalTree()
    nodes = [IntervalNode(f"{first}-{last}", first, last) for first, last in bounds]
    for node in nodes:
        tree.insert(node)
    tree.check()
    return tree, nodes


class AgainstASortedList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tree: IntervalTree[str] = IntervalTree()
        self.model: list[Node] = []
        self.names = (f"owner {number}" for number in range(1_000_000))

    @rule(bounds=st.lists(ranges, min_size=1, max_size=8))
    def insert(self, bounds: list[tuple[int, int]]) -> None:
        for start, last in bounds:
            node = IntervalNode(next(self.names), start, last)
            insort_right(self.model, node, key=start_of)
            self.tree.insert(node)

    @precondition(lambda self: self.model)
    @rule(number=picks)
    def erase(self, number: int) -> None:
        node = self.model.pop(number % len(self.model))
        self.tree.erase(node)
        assert not node.linked

    @precondition(lambda self: self.model)
    @rule(number=picks, bounds=ranges)
    def move_to_another_range(self, number: int, bounds: tuple[int, int]) -> None:
        node = self.model.pop(number % len(self.model))
        self.tree.erase(node)
        self.tree.check()
        node.set_range(*bounds)
        insort_right(self.model, node, key=start_of)
        self.tree.insert(node)

    @precondition(lambda self: self.model)
    @rule(number=picks)
    def insert_again_as_it_was(self, number: int) -> None:
        node = self.model.pop(number % len(self.model))
        self.tree.erase(node)
        insort_right(self.model, node, key=start_of)
        self.tree.insert(node)

    @precondition(lambda self: self.model)
    @rule(number=picks)
    def replace(self, number: int) -> None:
        place = number % len(self.model)
        victim = self.model[place]
        new = IntervalNode(next(self.names), victim.start, victim.last)
        self.model[place] = new
        self.tree.replace(victim, new)

    @precondition(lambda self: self.model)
    @rule(number=picks)
    def linking_twice_changes_nothing(self, number: int) -> None:
        with pytest.raises(StructureBroken, match="linked already"):
            self.tree.insert(self.model[number % len(self.model)])

    @rule(bounds=ranges)
    def query(self, bounds: tuple[int, int]) -> None:
        start, last = bounds
        assert list(self.tree.overlapping(start, last)) == [
            node.owner
            for node in self.model
            if node.start <= last and node.last >= start
        ]

    @rule()
    def query_each_single_value(self) -> None:
        for value in range(-1, TOP + 31):
            self.query((value, value))

    @invariant()
    def every_rule_holds(self) -> None:
        self.tree.check()
        assert list(self.tree) == self.model
        assert len(self.tree) == len(self.model)
        assert self.tree.first() is (self.model[0] if self.model else None)


AgainstASortedList.TestCase.settings = settings(
    derandomize=True, deadline=None, max_examples=150, stateful_step_count=30
)
TestAgainstASortedList = pytest.mark.slow(AgainstASortedList.TestCase)


class TestOverlapping:
    def test_both_ends_are_inclusive(self) -> None:
        tree, _ = tree_of((10, 19))
        assert list(tree.overlapping(19, 25)) == ["10-19"]
        assert list(tree.overlapping(5, 10)) == ["10-19"]
        assert list(tree.overlapping(20, 25)) == []
        assert list(tree.overlapping(5, 9)) == []

    def test_touching_ranges_are_told_apart(self) -> None:
        tree, _ = tree_of((0, 4095), (4096, 8191))
        assert list(tree.overlapping(4095, 4095)) == ["0-4095"]
        assert list(tree.overlapping(4096, 4096)) == ["4096-8191"]
        assert list(tree.overlapping(4095, 4096)) == ["0-4095", "4096-8191"]

    def test_equal_starts_come_in_the_order_of_insertion(self) -> None:
        tree, nodes = tree_of((5, 9), (5, 5), (5, 7), (5, 9))
        assert [node is kept for node, kept in zip(tree, nodes, strict=True)] == [
            True
        ] * 4
        assert list(tree.overlapping(6, 6)) == ["5-9", "5-7", "5-9"]

    def test_a_long_range_far_to_the_left_is_not_missed(self) -> None:
        tree, _ = tree_of((0, 1000), *((10 * i, 10 * i + 1) for i in range(1, 50)))
        assert list(tree.overlapping(445, 445)) == ["0-1000"]

    def test_the_top_of_the_address_space_can_be_reached(self) -> None:
        top = (1 << 64) - 1
        tree, _ = tree_of((top - 4095, top))
        assert list(tree.overlapping(top, top)) == [f"{top - 4095}-{top}"]

    def test_an_empty_tree_yields_nothing(self) -> None:
        tree, _ = tree_of()
        assert list(tree.overlapping(0, 1 << 64)) == []

    def test_answers_one_by_one(self) -> None:
        tree, _ = tree_of((1, 2), (2, 3))
        answers = tree.overlapping(2, 2)
        assert isinstance(answers, Iterator)
        assert next(answers) == "1-2"


class TestReadsLittle:
    """Counts the nodes whose ``start`` a query reads, instead of timing it."""

    def reads(self, bounds: list[tuple[int, int]], start: int, last: int) -> int:
        count = 0

        class Counted(IntervalNode[str]):
            __slots__ = ("_start",)

            @property
            def start(self) -> int:
                nonlocal count
                count += 1
                return self._start

            @start.setter
            def start(self, value: int) -> None:
                self._start = value

        tree: IntervalTree[str] = IntervalTree()
        for first, end in bounds:
            tree.insert(Counted("", first, end))
        count = 0
        list(tree.overlapping(start, last))
        return count

    def test_one_hit_among_a_thousand_reads_one_way_down(self) -> None:
        bounds = [(10 * i, 10 * i + 9) for i in range(1024)]
        assert max(self.reads(bounds, 10 * i, 10 * i) for i in (0, 511, 1023)) <= 22

    def test_many_hits_in_a_row_read_little_more_than_the_hits(self) -> None:
        bounds = [(10 * i, 10 * i + 9) for i in range(1024)]
        assert self.reads(bounds, 3000, 5999) <= 300 + 2 * 22

    def test_a_query_outside_of_all_ranges_reads_one_node(self) -> None:
        bounds = [(10 * i, 10 * i + 9) for i in range(100, 1024)]
        assert self.reads(bounds, 0, 999) <= 1
        assert self.reads(bounds, 10240, 20000) <= 1


def test_a_node_stands_at_0_until_its_range_is_set() -> None:
    node = IntervalNode("")
    assert (node.start, node.last, node.subtree_last) == (0, 0, 0)
    node.set_range(3, 3)
    assert (node.start, node.last, node.subtree_last) == (3, 3, 3)


class TestMisuseIsRefused:
    def test_an_empty_range(self) -> None:
        with pytest.raises(StructureBroken, match=r"range \[5, 4\]"):
            IntervalNode("", 5, 4)

    def test_changing_the_range_of_a_linked_node(self) -> None:
        tree, (node, _) = tree_of((1, 2), (3, 4))
        with pytest.raises(StructureBroken, match=r"range \[8, 9\]"):
            node.set_range(8, 9)
        tree.check()

    @pytest.mark.parametrize("bounds", [(1, 3), (1, 1), (0, 2), (2, 2)])
    def test_replacing_by_another_range(self, bounds: tuple[int, int]) -> None:
        tree, (node, _) = tree_of((1, 2), (3, 4))
        with pytest.raises(StructureBroken, match="cannot take"):
            tree.replace(node, IntervalNode("", *bounds))
        tree.check()

    @pytest.mark.parametrize("bounds", [[], [(1, 2)]])
    def test_erasing_an_unlinked_node(self, bounds: list[tuple[int, int]]) -> None:
        tree, _ = tree_of(*bounds)
        with pytest.raises(StructureBroken, match="not linked"):
            tree.erase(IntervalNode("", 1, 2))
        tree.check()


class TestCheckFindsDamage:
    @pytest.mark.parametrize("error", [-1, 1])
    def test_a_wrong_subtree_last(self, error: int) -> None:
        tree, _ = tree_of((1, 2), (3, 9), (5, 6))
        assert tree.root is not None
        tree.root.subtree_last += error
        with pytest.raises(StructureBroken, match=f"is {9 + error}, not 9"):
            tree.check()

    def test_a_range_that_grew_while_linked(self) -> None:
        tree, nodes = tree_of((1, 2), (3, 9), (5, 6))
        nodes[0].last = 20
        with pytest.raises(StructureBroken, match="subtree_last"):
            tree.check()

    def test_a_forgotten_leftmost(self) -> None:
        tree, nodes = tree_of((1, 2), (3, 9), (5, 6))
        tree._leftmost = nodes[1]
        with pytest.raises(StructureBroken, match="remembered as leftmost"):
            tree.check()

    def test_an_empty_range(self) -> None:
        tree, nodes = tree_of((1, 2), (3, 9), (5, 6))
        nodes[2].last = nodes[2].subtree_last = 4
        with pytest.raises(StructureBroken, match="empty range"):
            tree.check()

    def test_starts_out_of_order(self) -> None:
        tree, nodes = tree_of((1, 2), (3, 9), (5, 6))
        nodes[0].start = 4
        with pytest.raises(StructureBroken, match=r"\[4, 3, 5\]"):
            tree.check()

    def test_a_wrong_colour(self) -> None:
        tree, nodes = tree_of((1, 2), (3, 9), (5, 6))
        nodes[0].red = not nodes[0].red
        with pytest.raises(StructureBroken, match="black nodes down to"):
            tree.check()
