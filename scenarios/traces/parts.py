"""Which slots have something to do with each other, and which nothing at all.

Two calls can influence each other only if they name one slot, ask for common guest
memory in one address space, or bind one guest_memfd. So a history falls into parts that
can be explained one by one: it is explained if each part is.

Literature: M. P. Herlihy and J. M. Wing, Linearizability, 1990, theorem 1.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from scenarios.traces.call import RegionCall


def parts_of(calls: Iterable[RegionCall]) -> dict[int, int]:
    """Return, by call index, the number of the part to which a call belongs.

    Complexity: O(n log n).
    """
    chosen = sorted(calls, key=lambda call: call.guest_phys_addr)
    groups = _Groups()
    reach: dict[Hashable, tuple[int, Hashable]] = {}
    for call in chosen:
        slot = (call.vm, call.slot)
        space = (call.vm, call.as_id)
        end, last = reach.get(space, (0, slot))
        if call.memory_size:
            if call.guest_phys_addr < end:
                groups.join(slot, last)
            reach[space] = max((end, last), (call.guest_phys_end, slot), key=_end)
        if call.guest_memfd is not None:
            groups.join(slot, (call.vm, "guest_memfd", call.guest_memfd))
    numbers: dict[Hashable, int] = {}
    return {
        call.index: numbers.setdefault(groups.of((call.vm, call.slot)), len(numbers))
        for call in chosen
    }


def _end(reach: tuple[int, Hashable]) -> int:
    return reach[0]


class _Groups:
    """Disjoint sets; each is named by one of its members."""

    def __init__(self) -> None:
        self._parent: dict[Hashable, Hashable] = {}

    def of(self, member: Hashable) -> Hashable:
        parent = self._parent
        parent.setdefault(member, member)
        while parent[member] != member:
            parent[member] = parent[parent[member]]  # halves the way for the next
            member = parent[member]
        return member

    def join(self, one: Hashable, other: Hashable) -> None:
        self._parent[self.of(one)] = self.of(other)
