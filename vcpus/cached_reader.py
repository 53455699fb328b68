"""A thread of KVM that remembers its translations from one access to the next."""

from __future__ import annotations

from memslots.units import Gpa
from vcpus.guest_memory import GuestMemory
from vcpus.hva_cache import HvaCache
from vcpus.lookup import Looker
from vcpus.pfn_cache import PfnCache


class CachedReader:
    """One cache of each kind, for whatever was accessed last.

    Each method is called inside a read section of ``kvm->srcu`` of its own.

    Args:
        memory: What it accesses.
        pfn_cache: The pfn cache; several threads may share it.
        vcpu: The vCPU whose thread it is, if any.
    """

    def __init__(
        self,
        memory: GuestMemory,
        pfn_cache: PfnCache,
        vcpu: Looker | None = None,
    ) -> None:
        self.vcpu = vcpu
        self.hva_cache = HvaCache(memory, vcpu)
        self.pfn_cache = pfn_cache

    async def hva_cache_read(self, gpa: Gpa, length: int = 1) -> list[int]:
        """Read ``length`` bytes through the hva cache.

        Returns:
            What each page of them holds.

        Raises:
            MemoryRegionError: See `vcpus.hva_cache.HvaCache.read`.
        """
        await self._translate(gpa, length)
        return await self.hva_cache.read()

    async def hva_cache_write(self, gpa: Gpa, value: int, length: int = 1) -> None:
        """Write ``length`` bytes through the hva cache.

        Raises:
            MemoryRegionError: See `vcpus.hva_cache.HvaCache.read`.
        """
        await self._translate(gpa, length)
        await self.hva_cache.write(value)

    async def _translate(self, gpa: Gpa, length: int) -> None:
        if (self.hva_cache.gpa, self.hva_cache.length) != (gpa, length):
            await self.hva_cache.init(gpa, length)

    async def pfn_cache_read(self, gpa: Gpa, length: int = 1) -> int:
        """Read ``length`` bytes of one page through the pfn cache.

        Returns:
            What the page holds.

        Raises:
            MemoryRegionError: See `vcpus.pfn_cache.PfnCache.refresh`.
        """
        await self._activate(gpa, length)
        return await self.pfn_cache.read(gpa, length)

    async def pfn_cache_write(self, gpa: Gpa, value: int, length: int = 1) -> None:
        """Write ``length`` bytes of one page through the pfn cache.

        Raises:
            MemoryRegionError: See `vcpus.pfn_cache.PfnCache.refresh`.
        """
        await self._activate(gpa, length)
        await self.pfn_cache.write(gpa, value, length, self.vcpu)

    async def pfn_cache_try_read(self, gpa: Gpa, length: int = 1) -> int | None:
        """Read through the pfn cache, unless it would have to be refreshed.

        Returns:
            What the page holds; None if it was not read.
        """
        return await self.pfn_cache.try_read(gpa, length)

    async def _activate(self, gpa: Gpa, length: int) -> None:
        if not await self.pfn_cache.is_active():
            await self.pfn_cache.activate(gpa, length)
