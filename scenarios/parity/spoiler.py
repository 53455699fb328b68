"""What makes a good region call bad.

Every check of the kernel has a way to just pass it and a way to just fail it here. Two
spoiled fields at once show which check comes first.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from memslots.region import Region
from memslots.slot import GUEST_MEMFD, LOG_DIRTY_PAGES, READONLY
from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gpa, Hva
from scenarios.parity.calls import GUEST_MEMFDS, NO_DESCRIPTOR
from scenarios.parity.requests import Requests

TOP = 1 << 64

_FIRST_PAGE = (next(iter(GUEST_MEMFDS)), 0)


class Spoiler:
    """Makes good requests bad.

    Args:
        requests: Whose.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._chance = requests.chance
        self._tracked = requests.tracked
        self._ways: list[Callable[[Region], Region]] = [
            self._unalign_size,
            self._unalign_gpa,
            self._unalign_hva,
            self._end_with_user_space,
            self._leave_user_space,
            self._take_id_at_limit,
            self._take_other_space,
            self._wrap_gpa,
            self._exceed_pages,
            self._add_unknown_flag,
            self._end_at_highest_gfn,
            self._meet_another,
            self._meet_another,
            self._take_other_hva,
            self._take_other_size,
            self._toggle_readonly,
            self._delete,
        ]
        if requests.backing:
            self._ways += [
                self._back_wrongly,
                self._offset_wrongly,
                self._back_what_exists,
                self._back_through_v1,
            ]

    def spoil(self, region: Region) -> Region:
        """The request with one field wrong, or several, or just not wrong."""
        for way in self._chance.sample(
            self._ways, self._chance.choice((1, 1, 1, 2, 3))
        ):
            region = way(region)
        return region

    def _unalign_size(self, region: Region) -> Region:
        return attrs.evolve(
            region, memory_size=region.memory_size + self._part_of_page()
        )

    def _unalign_gpa(self, region: Region) -> Region:
        gpa = region.guest_phys_addr + self._part_of_page()
        return attrs.evolve(region, guest_phys_addr=Gpa(gpa))

    def _unalign_hva(self, region: Region) -> Region:
        hva = region.userspace_addr + self._part_of_page()
        return attrs.evolve(region, userspace_addr=Hva(hva))

    def _part_of_page(self) -> int:
        return self._chance.choice((1, 2048, PAGE_SIZE - 1))

    def _end_with_user_space(self, region: Region) -> Region:
        beyond = self._chance.choice((0, 0, 1, 2)) * PAGE_SIZE
        hva = self._requests.profile.user_address_end - region.memory_size + beyond
        return attrs.evolve(region, userspace_addr=Hva(hva % TOP))

    def _leave_user_space(self, region: Region) -> Region:
        end = self._requests.profile.user_address_end
        hva = self._chance.choice((end, end + PAGE_SIZE, 0xFFFF << 48, TOP - PAGE_SIZE))
        return attrs.evolve(region, userspace_addr=Hva(hva))

    def _take_id_at_limit(self, region: Region) -> Region:
        limit = self._requests.profile.user_mem_slots
        id_ = self._chance.choice((limit - 1, limit, limit, limit + 2, 0xFFFF))
        return attrs.evolve(region, slot=region.slot & ~0xFFFF | id_)

    def _take_other_space(self, region: Region) -> Region:
        as_id = self._chance.choice(
            (self._requests.spaces, self._requests.spaces + 1, 0xFFFF)
        )
        return attrs.evolve(region, slot=as_id << 16 | region.slot & 0xFFFF)

    def _wrap_gpa(self, region: Region) -> Region:
        """A bad descriptor is looked at later, but before the highest gfn."""
        if self._requests.backing and self._chance.one_in(2):
            region = self._requests.backed(self._sized(region), NO_DESCRIPTOR, 0)
        size = max(region.memory_size, PAGE_SIZE)
        beyond = self._chance.choice((0, 0, 1)) * PAGE_SIZE
        gpa = (TOP - size + beyond) % TOP
        return attrs.evolve(region, guest_phys_addr=Gpa(gpa))

    def _exceed_pages(self, region: Region) -> Region:
        """Never as many as are allowed: that would take gigabytes."""
        most = self._requests.profile.mem_max_nr_pages
        npages = self._chance.choice((most + 1, most + 2, 1 << 51, (1 << 52) - 1))
        hva = self._chance.choice((Hva(0), region.userspace_addr))
        return attrs.evolve(
            region,
            memory_size=npages * PAGE_SIZE,
            userspace_addr=hva,
            guest_phys_addr=Gpa(region.guest_phys_addr % (1 << 40)),
        )

    def _add_unknown_flag(self, region: Region) -> Region:
        bit = self._chance.choice((3, 4, 15, 16, 31))
        return attrs.evolve(region, flags=region.flags | 1 << bit)

    def _end_at_highest_gfn(self, region: Region) -> Region:
        beyond = self._chance.choice((0, 0, 1, 1, 2))
        gfn = self._requests.profile.max_gfn + 1 - region.npages + beyond
        return attrs.evolve(region, guest_phys_addr=Gpa((gfn << PAGE_SHIFT) % TOP))

    def _meet_another(self, region: Region) -> Region:
        """Meet another slot with one page, or with all; or just not."""
        if not self._tracked.used:
            return region
        other = self._requests.existing()
        npages = region.npages
        gfn = self._chance.choice(
            (
                other.base_gfn,
                other.base_gfn - npages,
                other.base_gfn - npages + 1,
                other.end_gfn,
                other.end_gfn - 1,
                other.base_gfn + other.npages // 2,
            )
        )
        return attrs.evolve(region, guest_phys_addr=Gpa(max(gfn, 0) << PAGE_SHIFT))

    def _take_other_hva(self, region: Region) -> Region:
        """Of a slot that exists: it must keep its own."""
        old = self._like(region)
        hva = self._chance.choice((old.userspace_addr ^ PAGE_SIZE, 0))
        return attrs.evolve(old, userspace_addr=Hva(hva))

    def _take_other_size(self, region: Region) -> Region:
        """Of a slot that exists: it must keep its own."""
        old = self._like(region)
        more = self._chance.choice((-PAGE_SIZE, PAGE_SIZE))
        return attrs.evolve(old, memory_size=old.memory_size + more)

    def _toggle_readonly(self, region: Region) -> Region:
        """Of a slot that exists: it must keep its own."""
        old = self._like(region)
        return attrs.evolve(old, flags=old.flags ^ READONLY)

    def _like(self, region: Region) -> Region:
        """A slot that exists, where the request wants it; logged or not."""
        if not self._tracked.used:
            return region
        old = self._requests.existing()
        flags = old.flags
        if self._chance.one_in(4) and not flags & GUEST_MEMFD:
            flags ^= LOG_DIRTY_PAGES
        if self._chance.one_in(2):
            return attrs.evolve(old, flags=flags)
        return attrs.evolve(old, flags=flags, guest_phys_addr=region.guest_phys_addr)

    def _delete(self, region: Region) -> Region:
        """Whether there is such a slot or not."""
        return attrs.evolve(region, memory_size=0)

    def _back_wrongly(self, region: Region) -> Region:
        """A descriptor that is none, a range behind the end or bound already."""
        slot = self._requests.free_slot()
        plain = self._sized(attrs.evolve(region, slot=slot))
        size = plain.memory_size
        file, pages = self._chance.choice([*GUEST_MEMFDS.items()])
        end = pages * PAGE_SIZE
        kind = self._chance.between(0, 4)
        if kind == 0:
            return self._requests.backed(plain, NO_DESCRIPTOR, 0)
        if kind == 1:
            beyond = self._chance.choice((0, PAGE_SIZE, size))
            return self._requests.backed(plain, file, max(end - size + beyond, 0))
        if kind == 2:
            flags = self._chance.choice((LOG_DIRTY_PAGES, READONLY))
            return attrs.evolve(
                self._requests.backed(plain, file, 0), flags=GUEST_MEMFD | flags
            )
        if not self._tracked.backed:
            return self._requests.backed(plain, file, 0)
        other = self._tracked.held[self._tracked.backed.draw(self._chance)]
        first = other.guest_memfd_offset
        last = first + other.memory_size - PAGE_SIZE
        beside = (first, last, last + PAGE_SIZE, first - size, first - size + PAGE_SIZE)
        offset = max(self._chance.choice(beside), 0)
        return self._requests.backed(plain, other.guest_memfd, offset)

    def _offset_wrongly(self, region: Region) -> Region:
        """An offset inside a page, or a range that wraps; often without a file."""
        plain = self._sized(region)
        size = plain.memory_size
        offset = self._chance.choice(
            (1, PAGE_SIZE - 1, TOP - size, TOP - size - PAGE_SIZE, TOP - PAGE_SIZE)
        )
        file = self._chance.choice((NO_DESCRIPTOR, NO_DESCRIPTOR, *GUEST_MEMFDS))
        return self._requests.backed(plain, file, offset % TOP)

    def _back_what_exists(self, region: Region) -> Region:
        """A slot with a guest_memfd as it is, or moved; a plain one may not get one."""
        slots = self._tracked.backed if self._chance.one_in(2) else self._tracked.used
        if not slots:
            return region
        old = self._tracked.held[slots.draw(self._chance)]
        if not old.flags & GUEST_MEMFD:
            return self._requests.backed(self._sized(old), *_FIRST_PAGE)
        if self._chance.one_in(2):
            return old
        return attrs.evolve(old, guest_phys_addr=region.guest_phys_addr)

    def _back_through_v1(self, region: Region) -> Region:
        """The first ioctl has no place for a descriptor."""
        plain = self._sized(region)
        return attrs.evolve(
            self._requests.backed(plain, -1, 0), v2=False, guest_memfd_offset=0
        )

    def _sized(self, region: Region) -> Region:
        """The request with a size that a small file can have."""
        npages = region.npages
        if 0 < npages <= 16:
            return region
        return attrs.evolve(region, memory_size=self._chance.between(1, 8) * PAGE_SIZE)
