"""The pages behind host virtual addresses.

A MOVE moves the window through which the guest sees them, never what is in them.
"""

from __future__ import annotations

from memslots.units import PAGE_SIZE, Hva
from rcu.operation import Location
from rcu.schedule.scheduler import Scheduler


class HostMemory:
    """One number for each host page; 0 until something is written."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._pages: dict[int, int] = {}
        self._locations: dict[int, Location] = {}

    def _location(self, page: int) -> Location:
        location = self._locations.get(page)
        if location is None:
            name = f"host page {page * PAGE_SIZE:#x}"
            location = self._locations[page] = Location(name)
        return location

    async def read(self, hva: Hva) -> int:
        """What the page of ``hva`` holds."""
        page = hva // PAGE_SIZE
        await self._scheduler.point(self._location(page).read)
        return self._pages.get(page, 0)

    async def write(self, hva: Hva, value: int) -> None:
        """Let the page of ``hva`` hold ``value``."""
        page = hva // PAGE_SIZE
        await self._scheduler.point(self._location(page).write)
        self._pages[page] = value
