"""The plain red-black tree against a sorted list."""

from __future__ import annotations

import inspect
from itertools import pairwise, permutations
from math import log2

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from memslots.indexes.errors import StructureBroken
from memslots.indexes.rbtree import RbNode, RbTree

some_keys = st.integers(min_value=0, max_value=60)
picks = st.integers(min_value=0, max_value=1000)


class NumberTree(RbTree[RbNode[int]]):
    """The smallest user of a tree: the owner is the key."""

    def key(self, node: RbNode[int]) -> int:
        return node.owner

    def insert(self, node: RbNode[int]) -> None:
        parent, below = None, self.root
        while below is not None:
            parent = below
            below = below.left if node.owner < below.owner else below.right
        as_left = parent is not None and node.owner < parent.owner
        self.link(node, parent, as_left=as_left)


def tree_of(*keys: int) -> tuple[NumberTree, dict[int, RbNode[int]]]:
    tree, nodes = NumberTree(), {key: RbNode(key) for key in keys}
    for node in nodes.values():
        tree.insert(node)
    tree.check()
    return tree, nodes


def keys_of(tree: NumberTree) -> list[int]:
    return [node.owner for node in tree]


class AgainstASortedList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tree = NumberTree()
        self.model: dict[int, RbNode[int]] = {}

    def pick(self, number: int) -> int:
        keys = sorted(self.model)
        return keys[number % len(keys)]

    @rule(keys=st.lists(some_keys, min_size=1, max_size=12))
    def insert(self, keys: list[int]) -> None:
        for key in keys:
            if key not in self.model:
                self.model[key] = RbNode(key)
                self.tree.insert(self.model[key])

    @precondition(lambda self: self.model)
    @rule(number=picks)
    def erase(self, number: int) -> None:
        node = self.model.pop(self.pick(number))
        self.tree.erase(node)
        assert not node.linked
        assert node.left is node.right is None

    @precondition(lambda self: self.model)
    @rule(number=picks)
    def erase_and_insert_again(self, number: int) -> None:
        node = self.model[self.pick(number)]
        self.tree.erase(node)
        self.tree.check()
        self.tree.insert(node)

    @precondition(lambda self: self.model)
    @rule(number=picks)
    def replace(self, number: int) -> None:
        key = self.pick(number)
        victim, new = self.model[key], RbNode(key)
        self.model[key] = new
        self.tree.replace(victim, new)
        assert not victim.linked
        assert victim.left is victim.right is None

    @precondition(lambda self: self.model)
    @rule(number=picks)
    def linking_twice_changes_nothing(self, number: int) -> None:
        node = self.model[self.pick(number)]
        with pytest.raises(StructureBroken, match="linked already"):
            self.tree.insert(node)

    @invariant()
    def every_rule_holds(self) -> None:
        self.tree.check()

    @invariant()
    def nodes_come_in_key_order(self) -> None:
        expected = [self.model[key] for key in sorted(self.model)]
        assert list(self.tree) == expected
        assert len(self.tree) == len(expected)
        assert all(node.linked for node in expected)
        assert self.tree.first() is (expected[0] if expected else None)
        assert self.tree.last() is (expected[-1] if expected else None)

    @invariant()
    def neighbours_know_each_other(self) -> None:
        nodes = [None, *(self.model[key] for key in sorted(self.model)), None]
        for before, after in pairwise(nodes):
            if before is not None:
                assert self.tree.next(before) is after
            if after is not None:
                assert self.tree.prev(after) is before


AgainstASortedList.TestCase.settings = settings(
    derandomize=True, deadline=None, max_examples=150, stateful_step_count=30
)
TestAgainstASortedList = pytest.mark.slow(AgainstASortedList.TestCase)


def test_every_order_of_inserting_six_keys_gives_a_sound_tree() -> None:
    for order in permutations(range(6)):
        tree, _ = tree_of(*order)
        assert keys_of(tree) == list(range(6))


def test_every_order_of_erasing_six_of_nine_keys_keeps_the_tree_sound() -> None:
    for order in permutations((0, 1, 3, 4, 6, 8)):
        tree, nodes = tree_of(*range(9))
        left = list(range(9))
        for key in order:
            tree.erase(nodes[key])
            left.remove(key)
            tree.check()
            assert keys_of(tree) == left


@pytest.mark.parametrize("step", [1, -1, 7])
def test_depth_stays_within_twice_the_logarithm(step: int) -> None:
    n = 1000
    tree, _ = tree_of(*(i * step % n if step > 1 else i * step for i in range(n)))
    deepest = 0
    for node in tree:
        depth, above = 1, node.parent
        while above is not None:
            depth, above = depth + 1, above.parent
        deepest = max(deepest, depth)
    assert deepest <= 2 * log2(n + 1)


def test_a_tree_must_know_its_keys() -> None:
    assert inspect.isabstract(RbTree)


def test_an_empty_tree_has_neither_first_nor_last() -> None:
    tree = NumberTree()
    tree.check()
    assert tree.first() is tree.last() is tree.root is None
    assert list(tree) == []
    assert len(tree) == 0


class WithEqualKeys(NumberTree):
    equal_keys_allowed = True


def test_keys_may_be_equal_where_that_is_allowed() -> None:
    tree = WithEqualKeys()
    for key in (2, 1, 2, 1, 2):
        tree.insert(RbNode(key))
        tree.check()
    assert keys_of(tree) == [1, 1, 2, 2, 2]


def test_an_unlinked_node_has_no_neighbours() -> None:
    tree, _ = tree_of(1, 3)
    node = RbNode(2)
    assert tree.next(node) is None
    assert tree.prev(node) is None


def test_a_node_may_move_to_another_tree_once_erased() -> None:
    here, nodes = tree_of(1, 2, 3)
    there, _ = tree_of(7, 9)
    here.erase(nodes[2])
    there.insert(nodes[2])
    here.check()
    there.check()
    assert keys_of(here) == [1, 3]
    assert keys_of(there) == [2, 7, 9]


def test_a_node_tells_its_colour_and_owner() -> None:
    tree, nodes = tree_of(1, 2)
    assert repr(nodes[1]) == "<RbNode black, owner 1>"
    assert repr(nodes[2]) == "<RbNode red, owner 2>"
    tree.erase(nodes[2])
    assert repr(nodes[2]) == "<RbNode unlinked, owner 2>"


class TestMisuseIsRefused:
    def test_erasing_an_unlinked_node(self) -> None:
        tree, _ = tree_of(1, 2, 3)
        with pytest.raises(StructureBroken, match=r"not linked.*\[1, 2, 3\]"):
            tree.erase(RbNode(2))
        tree.check()

    def test_replacing_an_unlinked_node(self) -> None:
        tree, _ = tree_of(1, 2, 3)
        with pytest.raises(StructureBroken, match="not linked"):
            tree.replace(RbNode(2), RbNode(2))
        tree.check()

    def test_replacing_by_a_linked_node(self) -> None:
        tree, nodes = tree_of(1, 2, 3)
        with pytest.raises(StructureBroken, match="linked already"):
            tree.replace(nodes[1], nodes[2])
        tree.check()


class TestCheckFindsDamage:
    """Each test breaks one rule of a sound tree of 1..15 and meets it again."""

    def damaged(self) -> tuple[NumberTree, RbNode[int], dict[int, RbNode[int]]]:
        tree, nodes = tree_of(*range(1, 16))
        root = tree.root
        assert root is not None
        return tree, root, nodes

    def test_a_red_root(self) -> None:
        tree, root, _ = self.damaged()
        root.red = True
        with pytest.raises(StructureBroken, match="is red"):
            tree.check()

    def test_a_root_with_a_parent(self) -> None:
        tree, root, _ = self.damaged()
        root.parent = RbNode(99)
        with pytest.raises(StructureBroken, match="has parent"):
            tree.check()

    def test_a_red_child_of_a_red_node(self) -> None:
        tree, _, nodes = self.damaged()
        leaf = nodes[15]
        assert leaf.red
        assert leaf.parent is not None
        leaf.parent.red = True
        with pytest.raises(StructureBroken, match="red child <RbNode red"):
            tree.check()

    def test_a_way_down_with_one_black_too_many(self) -> None:
        tree, _, nodes = self.damaged()
        nodes[15].red = False
        rule = "3 black nodes down to <RbNode red, owner 13>, not 4"
        with pytest.raises(StructureBroken, match=rule):
            tree.check()

    def test_another_way_down_with_one_black_too_many(self) -> None:
        tree, nodes = tree_of(*range(15, 0, -1))
        assert nodes[1].red
        nodes[1].red = False
        rule = "4 black nodes down to <RbNode black, owner 1>, not 3"
        with pytest.raises(StructureBroken, match=rule):
            tree.check()

    def test_a_child_that_names_another_parent(self) -> None:
        tree, root, nodes = self.damaged()
        assert nodes[15].parent is not root
        nodes[15].parent = root
        with pytest.raises(StructureBroken, match=r"owner 15.* its parent"):
            tree.check()

    def test_one_child_on_both_sides(self) -> None:
        tree, root, _ = self.damaged()
        root.left = root.right
        with pytest.raises(StructureBroken, match="one child twice"):
            tree.check()

    def test_links_in_a_circle(self) -> None:
        tree, root, nodes = self.damaged()
        nodes[15].right = root
        with pytest.raises(StructureBroken, match="its parent"):
            tree.check()

    @pytest.mark.parametrize("key", [9, 12])
    def test_keys_out_of_order(self, key: int) -> None:
        tree, _, nodes = self.damaged()
        nodes[7].owner = key
        with pytest.raises(
            StructureBroken, match=rf"key 8 .* behind key {key}; .*6, {key}, 8"
        ):
            tree.check()

    def test_the_first_two_keys_out_of_order(self) -> None:
        tree, _, nodes = self.damaged()
        nodes[1].owner = 2
        nodes[2].owner = 1
        with pytest.raises(StructureBroken, match=r"key 1 .* behind key 2; "):
            tree.check()

    def test_the_keys_around_it_are_shown(self) -> None:
        tree, nodes = tree_of(*range(200))
        with pytest.raises(StructureBroken, match=r"\(from position 118; 136 more"):
            tree.link(nodes[150], None, as_left=False)

    def test_equal_keys_where_they_are_not_allowed(self) -> None:
        tree, _, nodes = self.damaged()
        nodes[7].owner = 8
        with pytest.raises(StructureBroken, match=r"key 8 .* behind key 8"):
            tree.check()

    def test_a_lost_leaf(self) -> None:
        tree, _, nodes = self.damaged()
        parent = nodes[15].parent
        assert parent is not None
        parent.right = None
        with pytest.raises(StructureBroken, match="14 nodes are linked, 15"):
            tree.check()

    def test_a_node_that_was_not_counted(self) -> None:
        tree, _, _ = self.damaged()
        tree._count -= 1
        with pytest.raises(StructureBroken, match="15 nodes are linked, 14"):
            tree.check()

    def test_a_lost_root(self) -> None:
        tree, _, _ = self.damaged()
        tree.root = None
        with pytest.raises(StructureBroken, match="0 nodes are linked, 15"):
            tree.check()


class TestRebalancingStopsAtDamage:
    def test_linking_below_a_red_root(self) -> None:
        tree, nodes = tree_of(5)
        nodes[5].red = True
        with pytest.raises(StructureBroken, match=r"root .* is red"):
            tree.insert(RbNode(6))

    def test_erasing_beside_a_lost_black_leaf(self) -> None:
        tree, nodes = tree_of(1, 2, 3, 4)
        tree.erase(nodes[4])
        nodes[2].left = None
        with pytest.raises(StructureBroken, match="one side only"):
            tree.erase(nodes[3])
