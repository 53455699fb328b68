"""Keeping a red-black tree shallow: rotations and colours, written once.

Nothing here has sides. A rotation is "this child rises above its parent",
whichever child it is, so each repair has one text instead of a mirrored pair.
"Black" includes the missing children.

A subclass that keeps a value per subtree (the interval tree) overrides
``_rotate`` and puts its values right before it links or erases; the plain tree
pays nothing for that.

Linux: lib/rbtree.c
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, NoReturn, TypeVar

from memslots.indexes import rb_rules

NodeT = TypeVar("NodeT", bound=rb_rules.HasLinks)


class Balanced(ABC, Generic[NodeT]):
    """A root, and the repairs that keep what hangs from it balanced.

    Attributes:
        root: The topmost node, or None; only the tree writes it.
    """

    __slots__ = ("root",)

    def __init__(self) -> None:
        """Start empty."""
        self.root: NodeT | None = None

    @abstractmethod
    def key(self, node: NodeT) -> int:
        """Return the value that this tree is sorted by."""

    def refuse(self, rule: str, node: NodeT) -> NoReturn:
        """Raise StructureBroken for a rule, showing the keys around a node."""
        rb_rules.refuse(rule, self.root, self.key, node)

    def _settle_red(self, node: NodeT) -> None:
        """Restore the rules after ``node`` was linked as a red leaf.

        Complexity: O(log n), amortised O(1); at most two rotations.

        Linux: rb_insert_color, lib/rbtree.c
        """
        parent = node.parent
        while parent is not None and parent.red:
            above = parent.parent
            if above is None:
                self.refuse(f"root {parent!r} is red", parent)
            uncle = above.right if parent is above.left else above.left
            if uncle is not None and uncle.red:
                # Push the red up two levels, where it may meet another red.
                parent.red = uncle.red = False
                above.red = True
                node, parent = above, above.parent
                continue
            if (node is parent.left) is not (parent is above.left):
                self._rotate(parent, node)
                parent = node
            self._rotate(above, parent)
            parent.red = False
            above.red = True
            return
        if parent is None:
            node.red = False

    def _repay_black(self, parent: NodeT | None) -> None:
        """Restore the rules after a black leaf below ``parent`` has gone.

        Complexity: O(log n), amortised O(1); at most three rotations.

        Linux: ____rb_erase_color, lib/rbtree.c
        """
        short: NodeT | None = None  # the subtree that lacks one black
        while parent is not None:
            on_left = short is parent.left
            sibling = parent.right if on_left else parent.left
            if sibling is not None and sibling.red:
                self._rotate(parent, sibling)
                sibling.red = False
                parent.red = True
                sibling = parent.right if on_left else parent.left
            if sibling is None:
                self.refuse(f"{parent!r} has a black child on one side only", parent)
            if on_left:
                near, far = sibling.left, sibling.right
            else:
                near, far = sibling.right, sibling.left
            if far is None or not far.red:
                if near is None or not near.red:
                    sibling.red = True
                    if parent.red:
                        parent.red = False
                        return
                    short, parent = parent, parent.parent
                    continue
                self._rotate(sibling, near)
                sibling, far = near, sibling
            self._rotate(parent, sibling)
            sibling.red = parent.red
            parent.red = far.red = False
            return

    def _rotate(self, down: NodeT, up: NodeT) -> None:
        """Let ``up`` take the place of its parent ``down``, and adopt it.

        Linux: __rb_rotate_set_parents, lib/rbtree.c
        """
        if up is down.left:
            inner = down.left = up.right
            up.right = down
        else:
            inner = down.right = up.left
            up.left = down
        if inner is not None:
            inner.parent = down
        parent = down.parent
        self._set_child(parent, down, up)
        up.parent = parent
        down.parent = up

    def _set_child(self, parent: NodeT | None, old: NodeT, new: NodeT | None) -> None:
        if parent is None:
            self.root = new
        elif parent.left is old:
            parent.left = new
        else:
            parent.right = new
