"""The pages behind host virtual addresses.

A MOVE moves the window through which the guest sees them, never what is in them.
Whoever holds a page without a reference of its own must let go of it when the MMU
notifier says so: an unmapped page is freed.
"""

from __future__ import annotations

from memslots.units import PAGE_SIZE, Hva
from rcu.operation import Location
from rcu.reclaim import Reclaimable, reclaim
from rcu.schedule.scheduler import Scheduler


class HostPage(Reclaimable):
    """A page of host memory.

    Attributes:
        hva: Where it is mapped, page aligned.
        incarnation: How many pages were unmapped there before it.
        value: What it holds; 0 until something is written.
        location: What reads and writes of it, and its unmapping, touch.

    Linux: struct page, include/linux/mm_types.h
    """

    __slots__ = ("hva", "incarnation", "location", "value")

    def __init__(self, hva: Hva, incarnation: int, location: Location) -> None:
        self.hva = hva
        self.incarnation = incarnation
        self.value = 0
        self.location = location


class HostMemory:
    """The memory of the VMM; every address has a page as soon as it is touched."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._pages: dict[int, HostPage] = {}
        self._locations: dict[int, Location] = {}
        self._unmapped: dict[int, int] = {}

    def location(self, hva: Hva) -> Location:
        """Where the page of ``hva`` is read, written and unmapped."""
        page = hva // PAGE_SIZE
        location = self._locations.get(page)
        if location is None:
            name = f"host page {page * PAGE_SIZE:#x}"
            location = self._locations[page] = Location(name)
        return location

    def _page(self, hva: Hva) -> HostPage:
        """The page of ``hva``; which one it is does not depend on who asks first."""
        number = hva // PAGE_SIZE
        page = self._pages.get(number)
        if page is None:
            base = Hva(number * PAGE_SIZE)
            page = HostPage(base, self._unmapped.get(number, 0), self.location(hva))
            self._pages[number] = page
        return page

    async def page(self, hva: Hva) -> HostPage:
        """The page that is mapped at ``hva`` now; nobody keeps it from being unmapped.

        KVM: hva_to_pfn, virt/kvm/kvm_main.c
        """
        await self._scheduler.point(self.location(hva).read)
        return self._page(hva)

    async def read(self, hva: Hva) -> int:
        """What the page of ``hva`` holds."""
        await self._scheduler.point(self.location(hva).read)
        return self._page(hva).value

    async def write(self, hva: Hva, value: int) -> None:
        """Let the page of ``hva`` hold ``value``."""
        await self._scheduler.point(self.location(hva).write)
        self._page(hva).value = value

    async def unmap(self, hva: Hva) -> None:
        """Free the page of ``hva``; the next access finds a new one that holds 0.

        Linux: madvise with MADV_DONTNEED
        """
        await self._scheduler.point(self.location(hva).write)
        number = hva // PAGE_SIZE
        page = self._pages.pop(number, None)
        if page is not None:
            self._unmapped[number] = page.incarnation + 1
            name = f"host page {page.hva:#x} #{page.incarnation}"
            reclaim(self._scheduler, page, name)
