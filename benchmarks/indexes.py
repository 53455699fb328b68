"""Our trees and their peers, on the same 32,764 slots."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import perf_counter
from typing import Any

from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.units import Gfn, Hva, Pages

COUNT = 32_764
QUERIES = 8_192


def make_set() -> Memslots:
    """A set of 32,764 slots of four pages, created in random order."""
    slots = Memslots(0, 0)
    order = list(range(COUNT))
    random.Random(1).shuffle(order)
    for index in order:
        slot = MemorySlot(
            serial=index,
            as_id=0,
            id=index,
            base_gfn=Gfn(index * 4),
            npages=Pages(4),
            userspace_addr=Hva(0x10_0000_0000 + index * 0x4000),
        )
        slots.replace(None, slot)
    return slots


def gfn_lookups(slots: Memslots) -> dict[str, Callable[[], float]]:
    """Seconds for one lookup by gfn: ours, and SortedKeyList's."""
    from sortedcontainers import SortedKeyList  # noqa: PLC0415 - an optional peer

    draw = random.Random(2)
    gfns = [Gfn(draw.randrange(COUNT * 4)) for _ in range(QUERIES)]
    peer: Any = SortedKeyList(slots, key=lambda slot: slot.base_gfn)

    def ours() -> float:
        find = slots.search_memslots
        started = perf_counter()
        for gfn in gfns:
            find(gfn)
        return (perf_counter() - started) / QUERIES

    def theirs() -> float:
        started = perf_counter()
        for gfn in gfns:
            peer[peer.bisect_key_right(gfn) - 1]
        return (perf_counter() - started) / QUERIES

    return {"gfn tree": ours, "SortedKeyList": theirs}


def hva_lookups(slots: Memslots) -> dict[str, Callable[[], float]]:
    """Seconds for one query by hva range: ours, and intervaltree's."""
    from intervaltree import IntervalTree  # noqa: PLC0415 - an optional peer

    draw = random.Random(3)
    base = 0x10_0000_0000
    starts = [Hva(base + draw.randrange(COUNT * 0x4000)) for _ in range(QUERIES)]
    peer: Any = IntervalTree()
    for slot in slots:
        peer.addi(slot.userspace_addr, slot.last_hva + 1, slot)

    def ours() -> float:
        find = slots.in_hva_range
        started = perf_counter()
        for start in starts:
            list(find(start, Hva(start + 0xFFF)))
        return (perf_counter() - started) / QUERIES

    def theirs() -> float:
        started = perf_counter()
        for start in starts:
            peer.overlap(start, start + 0x1000)
        return (perf_counter() - started) / QUERIES

    return {"hva tree": ours, "intervaltree": theirs}
