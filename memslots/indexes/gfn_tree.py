"""Guest page number to owner: a red-black tree of ranges that never overlap.

Two grains of reading: ``find`` takes a whole search as one read, ``walk``
yields each node before it is read, so that its caller may let others run
between two nodes.

KVM: kvm_memslots, include/linux/kvm_host.h
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol, TypeVar

from memslots.indexes.errors import StructureBroken
from memslots.indexes.rbtree import RbNode, RbTree
from memslots.units import Gfn, Pages


class GfnRange(Protocol):
    """What the tree must know of an owner: ``[base_gfn, base_gfn + npages)``.

    Neither may change while a node of the owner is linked.
    """

    @property
    def base_gfn(self) -> Gfn:
        """First gfn of the range; the key."""

    @property
    def npages(self) -> Pages:
        """Length of the range, at least 1."""


RangeT = TypeVar("RangeT", bound=GfnRange)


class GfnTree(RbTree[RbNode[RangeT]]):
    """Owners in ascending ``base_gfn``.

    >>> from types import SimpleNamespace
    >>> tree = GfnTree()
    >>> low = SimpleNamespace(base_gfn=16, npages=4)
    >>> high = SimpleNamespace(base_gfn=64, npages=1)
    >>> tree.insert(RbNode(low))
    >>> tree.insert(RbNode(high))
    >>> tree.find(19) is low, tree.find(20)
    (True, None)
    >>> [owner.base_gfn for owner in tree.in_gfn_range(18, 65)]
    [16, 64]
    """

    __slots__ = ()

    def key(self, node: RbNode[RangeT]) -> int:
        """Return the base gfn of the node's owner."""
        return node.owner.base_gfn

    def insert(self, node: RbNode[RangeT]) -> None:
        """Add an unlinked node at its owner's ``base_gfn``.

        Raises:
            StructureBroken: The ``base_gfn`` is taken, or the node is linked.

        Complexity: O(log n)

        KVM: kvm_insert_gfn_node, virt/kvm/kvm_main.c
        """
        base_gfn = node.owner.base_gfn
        parent = None
        below = self.root
        as_left = False
        while below is not None:
            parent = below
            other = below.owner.base_gfn
            as_left = base_gfn < other
            if as_left:
                below = below.left
            elif base_gfn == other:
                self.refuse(f"gfn {base_gfn} of {node!r} is taken by {below!r}", below)
            else:
                below = below.right
        self.link(node, parent, as_left=as_left)

    def replace(self, victim: RbNode[RangeT], new: RbNode[RangeT]) -> None:
        """Put ``new`` exactly where ``victim`` is.

        Raises:
            StructureBroken: The two have different ``base_gfn``, ``victim`` is
                not linked, or ``new`` is.

        Complexity: O(1)

        KVM: kvm_replace_gfn_node, virt/kvm/kvm_main.c
        """
        if victim.owner.base_gfn != new.owner.base_gfn:
            self.refuse(f"{new!r} cannot stand at the gfn of {victim!r}", victim)
        super().replace(victim, new)

    def find(self, gfn: Gfn) -> RangeT | None:
        """Return the owner whose range contains ``gfn``, or None.

        As ranges never overlap, only the owner with the highest base at or below
        ``gfn`` can contain it. This looks for that one and asks once at the end;
        ``walk`` asks at each node, as the kernel does, with the same result.

        Complexity: O(log n)

        KVM: search_memslots, include/linux/kvm_host.h
        """
        at_or_below = None
        node = self.root
        while node is not None:
            # One attribute of each owner: in a large tree a second one, often
            # in another cache line, costs more than going on to a leaf.
            if gfn < node.owner.base_gfn:
                node = node.left
            else:
                at_or_below = node
                node = node.right
        if at_or_below is not None:
            owner = at_or_below.owner
            if gfn < owner.base_gfn + owner.npages:
                return owner
        return None

    def find_approx(self, gfn: Gfn) -> RangeT | None:
        """Return the owner that contains ``gfn``, or else a neighbour of it.

        The neighbour is whichever owner the search read last: it borders the
        hole around ``gfn`` from below or from above. None only if empty.

        Complexity: O(log n)

        KVM: search_memslots, include/linux/kvm_host.h
        """
        owner = None
        node = self.root
        while node is not None:
            owner = node.owner
            base_gfn = owner.base_gfn
            if gfn < base_gfn:
                node = node.left
            elif gfn < base_gfn + owner.npages:
                return owner
            else:
                node = node.right
        return owner

    def walk(self, gfn: Gfn) -> Generator[RbNode[RangeT], None, RangeT | None]:
        """Search node by node, down to the one that contains ``gfn``.

        Yields:
            Each node on the way down, before anything of it is read.

        Returns:
            What was found, as the generator's return value; the last node
            yielded is the one that contains ``gfn``, if any does.

        Complexity: O(log n)

        KVM: search_memslots, include/linux/kvm_host.h
        """
        node = self.root
        while node is not None:
            yield node
            owner = node.owner
            if gfn < owner.base_gfn:
                node = node.left
            elif gfn < owner.base_gfn + owner.npages:
                return owner
            else:
                node = node.right
        return None

    def in_gfn_range(self, start: Gfn, end: Gfn) -> Iterator[RangeT]:
        """Yield each owner that overlaps ``[start, end)`` *gfn*, ascending.

        An empty range strictly inside an owner's range still yields that
        owner, as in the kernel: a caller that may hold one checks first.

        Complexity: O(log n + k) for k owners

        KVM: kvm_memslot_iter_start, include/linux/kvm_host.h
        """
        at_or_below = above = None
        node = self.root
        while node is not None:
            if start < node.owner.base_gfn:
                above = node
                node = node.left
            else:
                at_or_below = node
                node = node.right
        node = above
        if at_or_below is not None:
            owner = at_or_below.owner
            if owner.base_gfn + owner.npages > start:
                node = at_or_below
        while node is not None and (owner := node.owner).base_gfn < end:
            yield owner
            node = self.next(node)

    def last_end(self) -> Gfn:
        """Return the gfn behind the last range; 0 if there is none.

        Complexity: O(log n)

        KVM: kvm_s390_get_gfn_end, arch/s390/kvm/kvm-s390.h
        """
        node = self.last()
        return Gfn(0 if node is None else node.owner.base_gfn + node.owner.npages)

    def check(self) -> None:
        """Verify the tree, and that ranges are not empty and do not overlap.

        Raises:
            StructureBroken: Some rule does not hold.

        Complexity: O(n)
        """
        super().check()
        end = 0
        for position, node in enumerate(self):
            base_gfn, npages = node.owner.base_gfn, node.owner.npages
            if npages <= 0 or base_gfn < end:
                rule = f"{node!r}: {npages} pages at gfn {base_gfn}, free from {end}"
                raise StructureBroken(rule, [self.key(n) for n in self], position)
            end = base_gfn + npages
