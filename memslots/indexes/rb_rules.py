"""What must hold in a red-black tree, and the walk that proves it.

The rules: the root is black; a red node has no red child; every way down meets
the same number of black nodes; a child names its parent; keys ascend. Together
they bound the depth by ``2 * log2(n + 1)``.

These functions know a node only by its links, so that they can be trusted on a
damaged tree: they end even where the links form a circle.

Linux: check, lib/rbtree_test.c
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol, Self, TypeVar

from memslots.indexes.errors import StructureBroken

if TYPE_CHECKING:
    from collections.abc import Callable


class HasLinks(Protocol):
    """A node, as the rules and the rebalancing see it."""

    left: Self | None
    right: Self | None
    parent: Self | None
    red: bool


NodeT = TypeVar("NodeT", bound=HasLinks)


def check_tree(
    root: NodeT | None, key: Callable[[NodeT], int], *, equal_keys_allowed: bool
) -> int:
    """Verify every rule on every node.

    Args:
        root: The topmost node, or None.
        key: Gives the value that a node is sorted by.
        equal_keys_allowed: Whether neighbours may have the same key.

    Returns:
        How many nodes the tree has.

    Raises:
        StructureBroken: A rule does not hold; names it, the node and the keys.

    Complexity: O(n)
    """
    if root is None:
        return 0
    if root.parent is not None:
        refuse(f"root {root!r} has parent {root.parent!r}", root, key, root)
    if root.red:
        refuse(f"root {root!r} is red", root, key, root)
    _check_links_and_colours(root, key)

    nodes = nodes_in_order(root)
    keys = [key(node) for node in nodes]
    for position in range(1, len(keys)):
        before, here = keys[position - 1], keys[position]
        if before > here or (before == here and not equal_keys_allowed):
            rule = f"key {here} of {nodes[position]!r} stands behind key {before}"
            raise StructureBroken(rule, keys, position)
    return len(nodes)


def _check_links_and_colours(root: NodeT, key: Callable[[NodeT], int]) -> None:
    black_height: int | None = None
    to_visit = [(root, 0)]
    while to_visit:
        node, blacks_above = to_visit.pop()
        blacks = blacks_above + (not node.red)
        if node.left is node.right and node.left is not None:
            refuse(f"{node!r} has one child twice", root, key, node)
        for child in (node.left, node.right):
            if child is None:
                black_height = blacks if black_height is None else black_height
                if blacks != black_height:
                    rule = f"{blacks} black nodes down to {node!r}, not {black_height}"
                    refuse(rule, root, key, node)
                continue
            # Where this link is right everywhere, no node is visited twice.
            if child.parent is not node:
                rule = f"{child!r} under {node!r} names {child.parent!r} its parent"
                refuse(rule, root, key, child)
            if child.red and node.red:
                refuse(f"red {node!r} has red child {child!r}", root, key, child)
            to_visit.append((child, blacks))


def nodes_in_order(root: NodeT | None) -> list[NodeT]:
    """Return all nodes left to right, each once, whatever the links.

    Complexity: O(n)
    """
    nodes: list[NodeT] = []
    seen: set[int] = set()
    ancestors: list[NodeT] = []
    node = root
    while True:
        while node is not None and id(node) not in seen:
            seen.add(id(node))
            ancestors.append(node)
            node = node.left
        if not ancestors:
            return nodes
        nodes.append(ancestors.pop())
        node = nodes[-1].right


def refuse(
    rule: str, root: NodeT | None, key: Callable[[NodeT], int], node: NodeT
) -> NoReturn:
    """Raise StructureBroken for a rule, showing the keys around a node.

    Complexity: O(n)
    """
    nodes = nodes_in_order(root)
    near = next((i for i, other in enumerate(nodes) if other is node), 0)
    raise StructureBroken(rule, [key(other) for other in nodes], near)
