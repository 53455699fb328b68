"""A red-black tree whose nodes live inside the objects they sort.

As in the kernel, the tree does not search: a subclass walks down by its own
key, finds the free place, and calls ``link``.

Linux: lib/rbtree.c
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from memslots.indexes import rb_rules
from memslots.indexes.errors import StructureBroken
from memslots.indexes.rb_balance import Balanced

if TYPE_CHECKING:
    from collections.abc import Iterator

OwnerT = TypeVar("OwnerT")
NodeT = TypeVar("NodeT", bound="RbNode[Any]")


class RbNode(Generic[OwnerT]):
    """One object's place in one tree.

    An unlinked node is its own parent; the root's parent is None.

    Attributes:
        owner: The object that this node sorts.
        left: Child with the smaller keys; only a tree writes it.
        right: Child with the larger keys; only a tree writes it.
        parent: Node above; only a tree writes it.
        red: Colour; only a tree writes it.

    Linux: rb_node, include/linux/rbtree_types.h
    """

    __slots__ = ("left", "owner", "parent", "red", "right")

    def __init__(self: Self, owner: OwnerT) -> None:
        """Start unlinked."""
        self.owner = owner
        self.left: Self | None = None
        self.right: Self | None = None
        self.parent: Self | None = self
        self.red = False

    @property
    def linked(self) -> bool:
        """Whether some tree holds this node."""
        return self.parent is not self

    def __repr__(self) -> str:
        """Show colour and owner, as a broken rule's message needs them."""
        state = ("red" if self.red else "black") if self.linked else "unlinked"
        return f"<{type(self).__name__} {state}, owner {self.owner!r}>"


class RbTree(Balanced[NodeT]):
    """Links, unlinks, replaces and steps through nodes in key order.

    Linux: rb_root, include/linux/rbtree_types.h
    """

    __slots__ = ("_count",)

    # Whether two nodes of one tree may have the same key.
    equal_keys_allowed: ClassVar[bool] = False

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self._count = 0

    def link(self, node: NodeT, parent: NodeT | None, *, as_left: bool) -> None:
        """Put an unlinked node into the free place that a walk down found.

        Args:
            node: The node to add.
            parent: The node whose child it becomes; None in an empty tree.
            as_left: Whether it becomes the left child.

        Raises:
            StructureBroken: The node is linked already.

        Complexity: O(log n), amortised O(1).

        Linux: rb_link_node, include/linux/rbtree.h
        """
        if node.parent is not node:
            self.refuse(f"{node!r} is linked already", node)
        node.parent = parent
        node.red = True
        self._count += 1
        if parent is None:
            self.root = node
        elif as_left:
            parent.left = node
        else:
            parent.right = node
        self._settle_red(node)

    def erase(self, node: NodeT) -> None:
        """Take a node out; it may be linked again, here or elsewhere.

        Raises:
            StructureBroken: The node is not linked.

        Complexity: O(log n), amortised O(1).

        Linux: rb_erase, lib/rbtree.c
        """
        parent = lowest = node.parent
        if parent is node:
            self.refuse(f"{node!r} is not linked", node)
        left, right = node.left, node.right
        if left is None or right is None:
            orphan = right if left is None else left
            lost_red = node.red
            self._set_child(parent, node, orphan)
        else:
            # The next node in order has no left child, so it can step in.
            heir = lowest = right
            while (further := heir.left) is not None:
                lowest, heir = heir, further
            orphan = heir.right
            if heir is not right:
                lowest.left = orphan
                heir.right = right
                right.parent = heir
            heir.left = left
            left.parent = heir
            lost_red, heir.red = heir.red, node.red
            heir.parent = parent
            self._set_child(parent, node, heir)
        if orphan is not None:
            # An only child is always red: painted black, it repays the loss.
            orphan.parent = lowest
            orphan.red = False
        self._count -= 1
        node.left = node.right = None
        node.parent = node
        if orphan is None and not lost_red:
            self._repay_black(lowest)

    def replace(self, victim: NodeT, new: NodeT) -> None:
        """Put ``new`` exactly where ``victim`` is; their keys must be equal.

        Raises:
            StructureBroken: ``victim`` is not linked, or ``new`` is.

        Complexity: O(1)

        Linux: rb_replace_node, lib/rbtree.c
        """
        parent, left, right = victim.parent, victim.left, victim.right
        if parent is victim:
            self.refuse(f"{victim!r} is not linked", victim)
        if new.parent is not new:
            self.refuse(f"{new!r} is linked already", new)
        new.parent, new.left, new.right, new.red = parent, left, right, victim.red
        if left is not None:
            left.parent = new
        if right is not None:
            right.parent = new
        self._set_child(parent, victim, new)
        victim.left = victim.right = None
        victim.parent = victim

    def first(self) -> NodeT | None:
        """Return the node with the smallest key. Complexity: O(log n)."""
        node = self.root
        if node is not None:
            while (left := node.left) is not None:
                node = left
        return node

    def last(self) -> NodeT | None:
        """Return the node with the largest key. Complexity: O(log n)."""
        node = self.root
        if node is not None:
            while (right := node.right) is not None:
                node = right
        return node

    def next(self, node: NodeT) -> NodeT | None:
        """Return the node behind this one; None at the end or if unlinked.

        Complexity: O(log n), over a whole pass O(1) each.

        Linux: rb_next, lib/rbtree.c
        """
        below = node.right
        if below is not None:
            while (left := below.left) is not None:
                below = left
            return below
        parent = node.parent
        if parent is node:
            return None
        while parent is not None and node is parent.right:
            node, parent = parent, parent.parent
        return parent

    def prev(self, node: NodeT) -> NodeT | None:
        """Return the node in front of this one; None if first or unlinked.

        Complexity: O(log n), over a whole pass O(1) each.

        Linux: rb_prev, lib/rbtree.c
        """
        below = node.left
        if below is not None:
            while (right := below.right) is not None:
                below = right
            return below
        parent = node.parent
        if parent is node:
            return None
        while parent is not None and node is parent.left:
            node, parent = parent, parent.parent
        return parent

    def __iter__(self) -> Iterator[NodeT]:
        """Yield the nodes in key order; the tree must not change meanwhile."""
        node = self.first()
        while node is not None:
            yield node
            node = self.next(node)

    def __len__(self) -> int:
        """Return how many nodes are linked. Complexity: O(1)."""
        return self._count

    def check(self) -> None:
        """Verify the whole tree.

        Raises:
            StructureBroken: Some rule does not hold.

        Complexity: O(n)
        """
        root = self.root
        found = rb_rules.check_tree(
            root, self.key, equal_keys_allowed=self.equal_keys_allowed
        )
        if found != self._count:
            rule = f"{found} nodes are linked, {self._count} were counted"
            keys = [self.key(node) for node in self]
            raise StructureBroken(rule, keys)
