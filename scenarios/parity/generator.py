"""The next call to a VM: region calls and dirty-log calls, good and bad.

About half of the calls succeed, so that there is always something to break. The number
of slots rises and falls like a tide, from a third of the ids in play to nearly all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from memslots.dirty_bitmap import ALL_ONES, BITS_PER_LONG
from memslots.region import Region
from memslots.units import PAGE_SIZE
from scenarios.parity.calls import (
    Answer,
    Call,
    ClearDirtyLog,
    EnableCap,
    Features,
    GetDirtyLog,
    ResetRings,
    SetRegion,
)
from scenarios.parity.chance import Chance
from scenarios.parity.kvm_abi import Extension
from scenarios.parity.requests import Requests, askable
from scenarios.parity.spoiler import Spoiler
from scenarios.parity.tracked import Tracked

HIGH_TIDE, LOW_TIDE = 0.9, 0.3
"""Shares of the ids in play between which the number of slots goes up and down."""

RING_CAPS = (Extension.DIRTY_LOG_RING, Extension.DIRTY_LOG_RING_ACQ_REL)


class Generator:
    """Makes up the calls to one VM.

    Args:
        chance: Where the choices come from.
        features: What the kernel can do.
        slots: Slot fields in play: id in the low 16 bits, address space above.
        rings: Whether the VM shall have dirty rings at some time.
        recordable: Whether all region calls must be such that a recording holds all
            about them: none that cannot be read, none with a guest_memfd.

    Attributes:
        tracked: What the VM holds.
    """

    def __init__(
        self,
        chance: Chance,
        features: Features,
        slots: list[int],
        *,
        rings: bool = False,
        recordable: bool = False,
    ) -> None:
        self.tracked = Tracked(slots)
        self._chance = chance
        self._features = features
        self._rings = rings
        self._recordable = recordable
        self._most = len(slots)
        self._rising = True
        self._requests = Requests(
            chance, features, self.tracked, guest_memfds=not recordable
        )
        self._spoiler = Spoiler(self._requests)
        self._queue: deque[Call] = deque()
        modes = features.profile.manual_dirty_log_protect
        only = self._requests.create()
        self._queue += [
            self._manual_protect(chance.choice((0, 1, 3, 3, 3, 3)) & modes),
            self._set_region(only),
            self._set_region(attrs.evolve(only, memory_size=0)),
        ]

    def next_call(self) -> Call:
        """The next call."""
        if self._queue:
            return self._queue.popleft()
        if self._rings and self._chance.one_in(40):
            return self._ring()
        return self._any_call()

    def _any_call(self) -> Call:
        draw = self._chance.random()
        if draw < 0.43:
            return self._set_region(self._good_request())
        if draw < 0.84:
            return self._set_region(self._spoiler.spoil(self._good_request()))
        if draw < 0.845:
            return self._unreadable()
        if draw < 0.87:
            return self._change_mode()
        return self._dirty_log_call()

    def learn(self, call: Call, answer: Answer) -> None:
        """Take in what the kernel has answered."""
        if (
            isinstance(call, SetRegion)
            and call.region is not None
            and not answer.result
        ):
            self.tracked.succeeded(call.region)

    # Regions.

    def _set_region(self, region: Region) -> SetRegion:
        return SetRegion(askable(region, self._features.profile.user_address_end))

    def _good_request(self) -> Region:
        used = len(self.tracked.used)
        if used >= HIGH_TIDE * self._most:
            self._rising = False
        elif used <= LOW_TIDE * self._most:
            self._rising = True
        draw = self._chance.random()
        if draw < 0.15:
            return self._requests.move()
        if draw < 0.3:
            return self._requests.change_flags()
        if (draw < 0.9) is self._rising:
            return self._requests.create()
        return self._requests.delete()

    def _unreadable(self) -> Call:
        calls = (GetDirtyLog(None), ClearDirtyLog(None), EnableCap(None))
        return self._chance.choice(
            calls if self._recordable else (SetRegion(None), *calls)
        )

    # Modes.

    def _manual_protect(self, value: int) -> EnableCap:
        return EnableCap(Extension.MANUAL_DIRTY_LOG_PROTECT2, value)

    def _change_mode(self) -> Call:
        if self._chance.one_in(5):
            return ResetRings()
        if self._chance.one_in(3):
            return self._manual_protect(self._chance.choice((0, 1, 3, 3, 3, 3)))
        return self._chance.choice(
            (
                self._manual_protect(2),
                self._manual_protect(4),
                self._manual_protect(5),
                self._manual_protect(1 << 32 | 1),
                EnableCap(Extension.MANUAL_DIRTY_LOG_PROTECT2, 1, flags=1),
                EnableCap(Extension.NR_MEMSLOTS, 0x1000),
                *(self._bad_ring() for _ in range(4)),
            )
        )

    def _ring(self) -> EnableCap:
        size = self._chance.choice((0x1000, 0x10000, 0x100000, 1 << 32 | 0x1000))
        flags = self._chance.choice((0, 1))
        return EnableCap(self._chance.choice(RING_CAPS), size, flags)

    def _bad_ring(self) -> EnableCap:
        """A size that no ring has: never a VM with rings by accident."""
        size = self._chance.choice((0, 1, 0x800, 0x3000, 0x200000, 1 << 32))
        return EnableCap(self._chance.choice(RING_CAPS), size)

    # The dirty log.

    def _dirty_log_call(self) -> Call:
        logged = self.tracked.logged
        if not logged or self._chance.one_in(5):
            return self._dirty_log_call_to(self._wrong_slot(), npages=128)
        slot = logged.draw(self._chance)
        return self._dirty_log_call_to(slot, self.tracked.held[slot].npages)

    def _dirty_log_call_to(self, slot: int, npages: int) -> Call:
        draw = self._chance.random()
        if draw < 0.35:
            return GetDirtyLog(slot)
        if draw < 0.4:
            self._look_at(slot)
            return GetDirtyLog(slot, copy_out=False)
        if self._chance.one_in(2):
            self._look_at(slot)
        first, count = self._range(npages)
        if draw > 0.75:
            first, count = self._chance.choice(self._spoiled_ranges(first, npages))
        mask = None if self._chance.one_in(20) else self._mask(count)
        return ClearDirtyLog(slot, first, count, mask)

    def _look_at(self, slot: int) -> None:
        """See later what is left of the bits."""
        self._queue.append(GetDirtyLog(slot))

    def _range(self, npages: int) -> tuple[int, int]:
        """Pages that may be cleared."""
        words = -(-npages // BITS_PER_LONG)
        first = self._chance.between(0, words - 1)
        count = self._chance.between(1, words - first)
        start = first * BITS_PER_LONG
        return start, min(count * BITS_PER_LONG, npages - start)

    def _spoiled_ranges(self, first: int, npages: int) -> list[tuple[int, int]]:
        """What may not be cleared, or just may."""
        left = npages - first
        end = -(-npages // BITS_PER_LONG) * BITS_PER_LONG
        return [
            (first + 1, left - 1),
            (first + 63, 0),
            (first, left + 1),
            (first, left - 1),
            (first, left ^ 1),
            (first, 0),
            (end, 0),
            (end + BITS_PER_LONG, 0),
            (1 << 63, 0),
            ((1 << 64) - BITS_PER_LONG, BITS_PER_LONG),
            (first, (1 << 32) - BITS_PER_LONG),
        ]

    def _mask(self, count: int) -> tuple[int, ...]:
        words = min(-(-count // BITS_PER_LONG), PAGE_SIZE // 8)
        kinds: tuple[Callable[[], int], ...] = (
            lambda: ALL_ONES,
            lambda: self._chance.getrandbits(BITS_PER_LONG),
            lambda: self._chance.getrandbits(BITS_PER_LONG),
            lambda: 0,
        )
        kind = self._chance.choice(kinds)
        return tuple(kind() for _ in range(words))

    def _wrong_slot(self) -> int:
        """A slot field that names no slot, or one that is not logged."""
        limit = self._features.profile.user_mem_slots
        spaces = self._features.address_space_count
        wrong = [limit, limit - 1, 0xFFFF, spaces << 16, spaces << 16 | limit]
        bags = (self.tracked.free, self.tracked.used, self.tracked.used)
        wrong += [bag.draw(self._chance) for bag in bags if bag]
        return self._chance.choice(wrong)


def slots_in_play(chance: Chance, features: Features, count: int) -> list[int]:
    """Slot fields to play with: the first id, the last, and any between.

    Args:
        chance: Where the choices come from.
        features: What the kernel can do.
        count: How many, over all address spaces; at least 1.
    """
    limit = features.profile.user_mem_slots
    slots: list[int] = []
    spaces = features.address_space_count
    for as_id in range(spaces):
        share = min(count // spaces + (as_id < count % spaces), limit)
        ids = {0, limit - 1} if share > 1 else {0}
        others = chance.sample(range(1, limit - 1), max(share - len(ids), 0))
        slots += sorted(as_id << 16 | id_ for id_ in ids.union(others))[:share]
    return slots
