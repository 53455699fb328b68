"""What a VM holds by now, for whoever makes up the next call.

Told by the kernel's answers alone, so that it is right whatever the model thinks.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from memslots.region import Region
from memslots.slot import GUEST_MEMFD, LOG_DIRTY_PAGES
from scenarios.parity.chance import Chance


class Bag:
    """Numbers of which one is drawn at random, each as likely as any other."""

    def __init__(self) -> None:
        self._items: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: int) -> None:
        """Put a number in; once is enough."""
        if item not in self._places:
            self._places[item] = len(self._items)
            self._items.append(item)

    def discard(self, item: int) -> None:
        """Take a number out, if it is in."""
        place = self._places.pop(item, None)
        if place is None:
            return
        last = self._items.pop()
        if last != item:
            self._items[place] = last
            self._places[last] = place

    def draw(self, chance: Chance) -> int:
        """One of them."""
        return self._items[int(chance.random() * len(self._items))]


class Tracked:
    """The slots of one VM.

    Args:
        slots: Slot fields in play: id in the low 16 bits, address space above.

    Attributes:
        held: By slot field, the successful request that made the slot what it is.
        most_used: How many slots there were at a time.
        free: Slot fields that name none.
        used: Slot fields that name one.
        logged: Those of them whose writes are logged.
        backed: Those of them that a guest_memfd backs.
    """

    def __init__(self, slots: list[int]) -> None:
        self.held: dict[int, Region] = {}
        self.most_used = 0
        self.free = Bag()
        self.used = Bag()
        self.logged = Bag()
        self.backed = Bag()
        self._in_play = set(slots)
        self._places: dict[int, list[tuple[int, int]]] = {}
        for slot in slots:
            self.free.add(slot)

    def succeeded(self, request: Region) -> None:
        """Take in a request to which the kernel has answered 0."""
        slot = request.slot
        before = self.held.pop(slot, None)
        places = self._places.setdefault(slot >> 16, [])
        if before is not None:
            del places[bisect_left(places, (before.base_gfn, slot))]
        self.logged.discard(slot)
        self.backed.discard(slot)
        if not request.memory_size:
            self.used.discard(slot)
            if slot in self._in_play:
                self.free.add(slot)
            return
        self.held[slot] = request
        insort(places, (request.base_gfn, slot))
        self.free.discard(slot)
        self.used.add(slot)
        self.most_used = max(self.most_used, len(self.used))
        if request.flags & LOG_DIRTY_PAGES:
            self.logged.add(slot)
        if request.flags & GUEST_MEMFD:
            self.backed.add(slot)

    def is_free(self, as_id: int, gfn: int, npages: int, but_for: int = -1) -> bool:
        """Whether no slot but ``but_for`` has any of the pages."""
        places = self._places.get(as_id, [])
        place = bisect_left(places, (gfn + npages, -1))
        while place:
            place -= 1
            request = self.held[places[place][1]]
            if request.slot != but_for:
                return request.end_gfn <= gfn
        return True
