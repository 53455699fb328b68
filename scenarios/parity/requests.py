"""Region calls that the kernel should accept.

What is never asked for: a slot of many pages, as kernels allocate for each of them; and
to take the guest_memfd from a slot that has one, after which kernels before 6.19 used
it although it was freed. `askable` sees to it, whatever calls are left out later.
"""

from __future__ import annotations

import attrs

from memslots.region import Region
from memslots.slot import GUEST_MEMFD, LOG_DIRTY_PAGES, READONLY
from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gpa, Hva
from scenarios.parity.calls import GUEST_MEMFDS, Features
from scenarios.parity.chance import Chance
from scenarios.parity.tracked import Tracked

TOP = 1 << 64

SIZES = (63, 64, 65, 100, 127, 128, 129, 200)
"""Pages around the words of a bitmap."""

LARGE_SIZES = (511, 512, 513, 1024, 4096)
"""Pages around large pages."""

PAGES_PER_SLOT = 64
"""Pages of guest memory in play for each slot in play."""

HOST_MEMORY = 0x10_0000_0000
"""Where slots have their host memory; it need not be mapped."""

BACKED_HOST_MEMORY = 0x20_0000_0000
"""The same for slots of a guest_memfd: a request without one is never their equal."""

_BACKED_END = BACKED_HOST_MEMORY + (1 << 32)

MOST_BACKED = 24
"""Slots of guest_memfds that there are at a time."""


class Requests:
    """Makes up region calls for one VM.

    Args:
        chance: Where the choices come from.
        features: What the kernel can do.
        tracked: What the VM holds.
        guest_memfds: Whether to ask for them.

    Attributes:
        profile: The kernel's limits.
        spaces: How many address spaces there are.
        backing: Whether slots may have guest_memfds.
    """

    def __init__(
        self,
        chance: Chance,
        features: Features,
        tracked: Tracked,
        *,
        guest_memfds: bool = True,
    ) -> None:
        self.chance = chance
        self.profile = features.profile
        self.spaces = features.address_space_count
        self._region2 = features.region2
        self.tracked = tracked
        self._arena = PAGES_PER_SLOT * (len(tracked.free) + len(tracked.used))
        self.backing = (
            guest_memfds and features.region2 and features.profile.guest_memfd
        )
        self._readonly = READONLY if features.profile.readonly_mem else 0

    def create(self) -> Region:
        """A new slot, or what has its place."""
        if self.backing and self.chance.one_in(12):
            return self._create_backed()
        slot = self.free_slot()
        npages = self._npages()
        gfn = self.free_gfn(slot, npages)
        flags = self.chance.choice((0, 0, 1, 1, 1, 2, 3)) & (1 | self._readonly)
        return self.region(slot, gfn, npages, self._hva(npages), flags)

    def delete(self) -> Region:
        """The end of a slot; where it is told to be does not matter."""
        if not self.tracked.used:
            return self.create()
        slot = self.tracked.used.draw(self.chance)
        if self.chance.one_in(2):
            return self.region(slot, 0, 0, 0, 0)
        gfn = self.chance.between(0, self._arena)
        flags = self.chance.choice((0, 1, 2, 3)) & (1 | self._readonly)
        return self.region(slot, gfn, 0, self._hva(0), flags)

    def move(self) -> Region:
        """Another place for a slot, sometimes onto a part of its own."""
        if not self.tracked.used:
            return self.create()
        old = self.existing()
        npages = old.npages
        if self.chance.one_in(3):
            gfn = max(old.base_gfn + self.chance.choice((-1, 1, 1 - npages)), 0)
        else:
            gfn = self.free_gfn(old.slot, npages)
        flags = old.flags
        if self.chance.one_in(3) and not flags & GUEST_MEMFD:
            flags ^= LOG_DIRTY_PAGES
        return self._versioned(
            attrs.evolve(old, guest_phys_addr=Gpa(gfn << PAGE_SHIFT), flags=flags)
        )

    def change_flags(self) -> Region:
        """Logging switched on or off; nothing at all, sometimes."""
        if not self.tracked.used:
            return self.create()
        old = self.existing()
        if self.chance.one_in(6) or old.flags & GUEST_MEMFD:
            return self._versioned(old)
        return self._versioned(attrs.evolve(old, flags=old.flags ^ LOG_DIRTY_PAGES))

    # Their fields.

    def free_slot(self) -> int:
        """An id that names no slot; if all do, one of those."""
        free = self.tracked.free or self.tracked.used
        return free.draw(self.chance)

    def existing(self) -> Region:
        """The request that made a slot what it is."""
        return self.tracked.held[self.tracked.used.draw(self.chance)]

    def _npages(self) -> int:
        draw = self.chance.random()
        if draw < 0.45:
            return 1
        if draw < 0.8:
            return self.chance.between(2, 16)
        if draw < 0.95:
            return self.chance.choice(SIZES)
        if draw < 0.99:
            return self.chance.between(17, 300)
        return self.chance.choice(LARGE_SIZES)

    def free_gfn(self, slot: int, npages: int) -> int:
        """A place that nobody has, if it is easy to find one."""
        gfn = 0
        as_id = slot >> 16
        for attempt in range(8):
            if attempt < 4 and self.tracked.used and self.chance.one_in(2):
                gfn = self._beside(self.existing(), npages)
            else:
                gfn = self.chance.between(0, self._arena << attempt // 2)
            if self.tracked.is_free(as_id, gfn, npages, but_for=slot):
                break
        return gfn

    def _beside(self, other: Region, npages: int) -> int:
        """Right below or right above."""
        gfn = other.end_gfn if self.chance.one_in(2) else other.base_gfn - npages
        return gfn if 0 <= gfn <= self.profile.max_gfn - npages else 0

    def _hva(self, npages: int) -> int:
        if self.chance.one_in(50):
            return 0
        if self.chance.one_in(50):
            return self.profile.user_address_end - npages * PAGE_SIZE
        return HOST_MEMORY + self.chance.between(0, 4096) * PAGE_SIZE

    def region(self, slot: int, gfn: int, npages: int, hva: int, flags: int) -> Region:
        """A request in pages, through either ioctl."""
        return self._versioned(
            Region(
                slot=slot,
                flags=flags,
                guest_phys_addr=Gpa(gfn << PAGE_SHIFT),
                memory_size=npages * PAGE_SIZE,
                userspace_addr=Hva(hva),
            )
        )

    def _versioned(self, region: Region) -> Region:
        """The request through either ioctl, if it can be; the rest is ignored there."""
        if region.flags & GUEST_MEMFD or not self._region2 or not self.chance.one_in(3):
            return region
        return attrs.evolve(
            region,
            v2=True,
            guest_memfd=self.chance.choice((0, -1)),
            guest_memfd_offset=self.chance.choice((0, 1, TOP - 1)),
        )

    # Slots of a guest_memfd.

    def _create_backed(self) -> Region:
        if len(self.tracked.backed) >= MOST_BACKED:
            slot = self.tracked.backed.draw(self.chance)
            return attrs.evolve(self.tracked.held[slot], memory_size=0)
        file = self.chance.choice([*GUEST_MEMFDS])
        npages = self.chance.between(1, 8)
        page = self.chance.between(0, GUEST_MEMFDS[file] - npages)
        if self.chance.one_in(8):
            page = GUEST_MEMFDS[file] - npages
        return self.backed(self.create_plain(npages), file, page * PAGE_SIZE)

    def create_plain(self, npages: int) -> Region:
        """A new slot without flags."""
        slot = self.free_slot()
        return self.region(slot, self.free_gfn(slot, npages), npages, 0, 0)

    def backed(self, region: Region, file: int, offset: int) -> Region:
        """The request with a guest_memfd behind it; ``offset`` is in bytes."""
        page = self.chance.between(0, 64)
        return attrs.evolve(
            region,
            flags=GUEST_MEMFD,
            userspace_addr=Hva(BACKED_HOST_MEMORY + page * PAGE_SIZE),
            v2=True,
            guest_memfd=file,
            guest_memfd_offset=offset,
        )


def askable(region: Region, user_address_end: int) -> Region:
    """The request as it is asked: every field fits, guest_memfds have their own place.

    Because of that place no request without guest_memfd is the equal of a slot that has
    one, and none is taken for a wish to lose it.
    """
    gpa, size = region.guest_phys_addr, region.memory_size
    hva = region.userspace_addr % TOP
    backed = bool(region.flags & GUEST_MEMFD)
    if hva < user_address_end:
        inside = BACKED_HOST_MEMORY <= hva < _BACKED_END
        if backed is not inside:
            place = BACKED_HOST_MEMORY if backed else HOST_MEMORY
            hva = place | hva % PAGE_SIZE
    if hva == region.userspace_addr and 0 <= gpa < TOP and 0 <= size < TOP:
        return region
    return attrs.evolve(
        region,
        guest_phys_addr=Gpa(gpa % TOP),
        memory_size=size % TOP,
        userspace_addr=Hva(hva),
    )
