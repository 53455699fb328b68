"""Ranges of host addresses that may overlap: a red-black tree with a summary.

Each node knows the largest ``last`` of its subtree, so a query skips every
subtree that ends before the query begins. This is the one place where ranges
have an inclusive end, ``[start, last]``: the top of the address space has no
address behind it.

Linux: INTERVAL_TREE_DEFINE, include/linux/interval_tree_generic.h
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, TypeVar

from memslots.indexes.errors import StructureBroken
from memslots.indexes.rbtree import RbNode, RbTree

OwnerT = TypeVar("OwnerT")


class IntervalNode(RbNode[OwnerT]):
    """One object's range in one interval tree.

    Attributes:
        start: First value of the range; fixed while linked.
        last: Last value of the range, inclusive; fixed while linked.
        subtree_last: Largest ``last`` at and below this node; the tree's own.

    Linux: interval_tree_node, include/linux/interval_tree.h
    """

    __slots__ = ("last", "start", "subtree_last")

    def __init__(self, owner: OwnerT, start: int = 0, last: int = 0) -> None:
        """Start unlinked, with a range that ``set_range`` may still change."""
        super().__init__(owner)
        self.set_range(start, last)

    def set_range(self, start: int, last: int) -> None:
        """Say where the node will stand; only while it is unlinked.

        Args:
            start: First value of the range.
            last: Last value of the range, inclusive.

        Raises:
            StructureBroken: The range is empty, or the node is linked.
        """
        if last < start or self.parent is not self:
            rule = f"range [{start}, {last}] for {self!r}"
            raise StructureBroken(rule)
        self.start = start
        self.last = self.subtree_last = last


class IntervalTree(RbTree[IntervalNode[OwnerT]]):
    """Owners in ascending ``start``; equal starts in the order of insertion.

    >>> tree = IntervalTree()
    >>> tree.insert(IntervalNode("kernel", 0, 99))
    >>> tree.insert(IntervalNode("initrd", 50, 149))
    >>> list(tree.overlapping(99, 99)), list(tree.overlapping(100, 200))
    (['kernel', 'initrd'], ['initrd'])

    Linux: rb_root_cached, include/linux/rbtree_types.h
    """

    __slots__ = ("_leftmost",)

    equal_keys_allowed: ClassVar[bool] = True

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self._leftmost: IntervalNode[OwnerT] | None = None

    def key(self, node: IntervalNode[OwnerT]) -> int:
        """Return where the node's range starts."""
        return node.start

    def first(self) -> IntervalNode[OwnerT] | None:
        """Return the node with the smallest start. Complexity: O(1)."""
        return self._leftmost

    def insert(self, node: IntervalNode[OwnerT]) -> None:
        """Add an unlinked node at its ``start``.

        Raises:
            StructureBroken: The node is linked already.

        Complexity: O(log n)

        Linux: INTERVAL_TREE_DEFINE, include/linux/interval_tree_generic.h
        """
        if node.parent is not node:
            self.refuse(f"{node!r} is linked already", node)
        start = node.start
        parent = None
        below = self.root
        as_left = False
        leftmost = True
        while below is not None:
            parent = below
            as_left = start < below.start
            if as_left:
                below = below.left
            else:
                below = below.right
                leftmost = False
        if leftmost:
            self._leftmost = node
        last = node.subtree_last = node.last
        above = parent
        # Whoever already reaches this far has only ancestors that do, too.
        while above is not None and above.subtree_last < last:
            above.subtree_last = last
            above = above.parent
        self.link(node, parent, as_left=as_left)

    def erase(self, node: IntervalNode[OwnerT]) -> None:
        """Take a node out; its range may change before it is linked again.

        Raises:
            StructureBroken: The node is not linked.

        Complexity: O(log n)

        Linux: INTERVAL_TREE_DEFINE, include/linux/interval_tree_generic.h
        """
        leftmost = self._leftmost
        if node.parent is node or leftmost is None:
            self.refuse(f"{node!r} is not linked", node)
        # Let every subtree claim what it will reach without the node, then let
        # the plain tree unlink it. No range ends before the leftmost starts,
        # so that start stands for "reaches nothing".
        nothing = leftmost.start
        left, right = node.left, node.right
        if left is None or right is None:
            below = right if left is None else left
            node.subtree_last = nothing if below is None else below.subtree_last
        else:
            heir = right  # will stand here; until then it leaves where it is
            while (further := heir.left) is not None:
                heir = further
            below = heir.right
            heir.subtree_last = nothing if below is None else below.subtree_last
            _propagate(heir.parent, node)
            reach = max(heir.last, left.subtree_last, right.subtree_last)
            heir.subtree_last = node.subtree_last = reach
        _propagate(node.parent, None)
        if node is leftmost:
            self._leftmost = self.next(node)
        super().erase(node)

    def replace(self, victim: IntervalNode[OwnerT], new: IntervalNode[OwnerT]) -> None:
        """Put ``new`` exactly where ``victim`` is.

        Raises:
            StructureBroken: The two have different ranges, ``victim`` is not
                linked, or ``new`` is.

        Complexity: O(1)

        Linux: rb_replace_node_cached, include/linux/rbtree.h
        """
        if victim.start != new.start or victim.last != new.last:
            rule = f"{new!r} cannot take [{victim.start}, {victim.last}] of {victim!r}"
            self.refuse(rule, victim)
        super().replace(victim, new)
        new.subtree_last = victim.subtree_last
        if victim is self._leftmost:
            self._leftmost = new

    def overlapping(self, start: int, last: int) -> Iterator[OwnerT]:
        """Yield each owner whose range meets ``[start, last]``, by start.

        The tree must not change meanwhile.

        Args:
            start: First value of the query.
            last: Last value of the query, inclusive.

        Complexity: O(log n + k) for k hits in a row, as in ranges that hardly
            nest; O(k log n) for hits scattered among ranges that end early;
            O(1) if the query lies outside of all ranges.

        Linux: INTERVAL_TREE_DEFINE, include/linux/interval_tree_generic.h
        """
        node, leftmost = self.root, self._leftmost
        if node is None or leftmost is None:
            return
        if node.subtree_last < start or leftmost.start > last:
            return
        to_read: list[IntervalNode[OwnerT]] = []
        while True:
            while node is not None:
                if node.start > last:
                    node = node.left
                    continue
                left = node.left
                if left is not None and left.subtree_last >= start:
                    # Something on the left reaches the query and, like this
                    # node, starts before its end: each node put off is paid
                    # for by a hit.
                    to_read.append(node)
                    node = left
                    continue
                if node.last >= start:
                    yield node.owner
                node = node.right
            if not to_read:
                return
            node = to_read.pop()
            if node.last >= start:
                yield node.owner
            node = node.right

    def check(self) -> None:
        """Verify the tree, each subtree's ``last``, and the leftmost node.

        Raises:
            StructureBroken: Some rule does not hold.

        Complexity: O(n)
        """
        super().check()
        leftmost = super().first()
        if leftmost is not self._leftmost:
            rule = f"{self._leftmost!r} is remembered as leftmost, not {leftmost!r}"
            raise StructureBroken(rule, [self.key(node) for node in self])
        for node in self:
            if node.last < node.start:
                self.refuse(f"{node!r}: empty range [{node.start}, {node.last}]", node)
            if node.subtree_last != (reach := _reach(node)):
                rule = f"subtree_last of {node!r} is {node.subtree_last}, not {reach}"
                self.refuse(rule, node)

    def _rotate(self, down: IntervalNode[OwnerT], up: IntervalNode[OwnerT]) -> None:
        super()._rotate(down, up)
        up.subtree_last = down.subtree_last
        down.subtree_last = _reach(down)


def _propagate(
    node: IntervalNode[OwnerT] | None, stop: IntervalNode[OwnerT] | None
) -> None:
    """Correct ``subtree_last`` upwards, until it is right or ``stop`` is met."""
    while node is not None and node is not stop:
        reach = _reach(node)
        if reach == node.subtree_last:
            return
        node.subtree_last = reach
        node = node.parent


def _reach(node: IntervalNode[OwnerT]) -> int:
    """Return the largest ``last`` at and below a node, from its children."""
    reach = node.last
    left = node.left
    if left is not None and left.subtree_last > reach:
        reach = left.subtree_last
    right = node.right
    if right is not None and right.subtree_last > reach:
        reach = right.subtree_last
    return reach
