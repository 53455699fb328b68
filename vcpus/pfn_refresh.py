"""How a host page is found and kept without a reference to it.

The page is resolved without the lock, since that may sleep. The MMU notifier may pass
meanwhile and find nothing to take away: then the page must not be kept.

KVM: hva_to_pfn_retry, virt/kvm/pfncache.c
"""

from __future__ import annotations

import errno

from memslots.errors import MemoryRegionError
from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gfn, Gpa, Hva
from rcu.errors import SimulatorBug
from rcu.locks import Mutex, RwLock
from rcu.operation import Location, Operation
from vcpus.guest_memory import GuestMemory
from vcpus.host_memory import HostPage
from vcpus.lookup import dereference
from vcpus.shadow_mmu import ShadowMmu
from vcpus.tracepoints import PfnCacheRefreshed


class RefreshedPage:
    """One guest page in address space 0, and the host's page behind it.

    Args:
        memory: What is translated.
        mmu: Counts the invalidations that have ended.
        name: How reports call it.

    Attributes:
        lock: Protects everything below; whoever holds it, and has found the page
            valid, may touch the page.
        refresh_lock: Who refreshes drops ``lock`` in between; there is one at a time.
        active: Whether the notifier knows it.
        gpa: The guest address, in bytes.
        generation: Generation of the set in which it was looked up.
        memslot: Its slot.
        uhva: Where the host has it; None if nowhere.
        page: The host's page.
        valid: Whether ``page`` is what is mapped at ``uhva``.
    """

    def __init__(self, memory: GuestMemory, mmu: ShadowMmu, name: str) -> None:
        scheduler = memory.vm.scheduler
        self.memory = memory
        self.mmu = mmu
        self.vm = memory.vm
        self.name = name
        self.lock = RwLock(scheduler, f"{name}->lock")
        self.refresh_lock = Mutex(scheduler, f"{name}->refresh_lock")
        self.location = Location(name)
        self.active = False
        self.gpa = Gpa(0)
        self.generation = 0
        self.memslot: MemorySlot | None = None
        self.uhva: Hva | None = None
        self.page: HostPage | None = None
        self.valid = False
        self._scheduler = scheduler
        count = self.vm.invalidations.count_location
        self._until_none_active = Operation("wait for", reads=(count,))

    async def refresh(self, gpa: Gpa, length: int = 1) -> None:
        """Make it valid for a guest address, whatever it held before.

        Args:
            gpa: The guest address.
            length: How many bytes are to be accessed there.

        Raises:
            MemoryRegionError: EINVAL, the bytes cross pages or the cache is not active;
                EFAULT, the page cannot be written.

        Locks:
            Acquires: ``refresh_lock``, ``lock`` for writing.

        KVM: kvm_gfn_to_pfn_cache_refresh, virt/kvm/pfncache.c
        """
        check_fits(gpa, length)
        slots = await dereference(self.vm, 0)
        async with self.refresh_lock:
            await self.refresh_serialised(slots, gpa)

    async def refresh_serialised(self, slots: Memslots, gpa: Gpa) -> None:
        """Refresh it; nobody else does.

        Raises:
            MemoryRegionError: See `refresh`.

        Locks:
            Holds on entry: ``refresh_lock``.
            Acquires: ``lock`` for writing.
        """
        await self.lock.acquire_write()
        try:
            await self.refresh_locked(slots, gpa)
        except MemoryRegionError:
            await self.lock.release()
            raise
        await self.lock.release()

    async def refresh_locked(self, slots: Memslots, gpa: Gpa) -> None:
        """Translate the guest address if that is stale, and resolve the page anew.

        Raises:
            MemoryRegionError: See `refresh`.

        Locks:
            Holds on entry: ``refresh_lock``, ``lock`` for writing.
            Releases and acquires again: ``lock``.
        """
        if not await self.is_active():
            raise MemoryRegionError(errno.EINVAL, f"{self.name} is not active")
        old_uhva = self.uhva
        if not await self.is_translated(slots, gpa):
            await self.translate(slots, gpa)
        await self._scheduler.point(self.location.read)
        if not self.valid or self.uhva != old_uhva:
            await self.hva_to_pfn_retry()

    async def is_active(self) -> bool:
        """Whether it is in use."""
        await self._scheduler.point(self.location.read)
        return self.active

    async def is_translated(self, slots: Memslots, gpa: Gpa) -> bool:
        """Whether ``uhva`` is what ``slots`` have at ``gpa``."""
        await self._scheduler.point(slots.generation_location.read)
        return (
            self.uhva is not None
            and self.gpa == gpa
            and self.generation == slots.generation
        )

    async def translate(self, slots: Memslots, gpa: Gpa) -> None:
        """Find the host address of ``gpa``.

        Raises:
            MemoryRegionError: EFAULT; there is none, and no page either.
        """
        gfn = Gfn(gpa >> PAGE_SHIFT)
        await self._scheduler.point(slots.generation_location.read)
        generation = slots.generation
        slot = await self.memory.lookup.gfn_to_memslot_in(slots, gfn)
        outcome, uhva = await self.memory.gfn_to_hva(slot, gfn, write=True)
        await self._scheduler.point(self.location.write)
        self.gpa, self.generation = gpa, generation
        self.memslot, self.uhva = slot, uhva
        if uhva is None:
            await self.purge()
            raise MemoryRegionError(
                errno.EFAULT, f"guest address {gpa:#x}: {outcome.value}"
            )

    async def hva_to_pfn_retry(self) -> None:
        """Resolve the page until no invalidation can have been missed, and keep it.

        Locks:
            Holds on entry: ``refresh_lock``, ``lock`` for writing.
            Releases and acquires again: ``lock``.
            Waits for: MMU-notifier sections to end.

        KVM: hva_to_pfn_retry, virt/kvm/pfncache.c
        """
        # The address is new already: without this, somebody who checks while the lock
        # is dropped would take the old page for it.
        await self.clear_valid()
        while True:
            seq = await self.snapshot_seq()
            await self.lock.release()
            page = await self.resolve()
            await self.lock.acquire_write()
            if not await self.must_retry(seq):
                break
            await self.pause()
        await self.store(page)

    async def clear_valid(self) -> None:
        """Let nobody touch the page from now on."""
        await self._scheduler.point(self.location.write)
        self.valid = False

    async def snapshot_seq(self) -> int:
        """How many invalidations have ended so far."""
        return await self.mmu.snapshot_seq()

    async def resolve(self) -> HostPage:
        """The page that is mapped at ``uhva`` now; may sleep.

        Locks:
            Holds on entry: ``refresh_lock``, so that ``uhva`` does not change.
        """
        self._scheduler.assert_may_sleep("hva_to_pfn")
        if self.uhva is None:
            raise SimulatorBug(f"{self.name} has no host address to resolve")
        return await self.memory.host.page(self.uhva)

    async def must_retry(self, seq: int) -> bool:
        """Whether the notifier may have missed the page that was resolved since.

        It looks at caches before it counts an invalidation as in progress: only the
        count of open sections tells of all that may have passed this cache.

        Args:
            seq: What `snapshot_seq` returned before the page was resolved.

        KVM: mmu_notifier_retry_cache, virt/kvm/pfncache.c
        """
        if await self.is_invalidation_active():
            return True
        return await self.snapshot_seq() != seq

    async def is_invalidation_active(self) -> bool:
        """Whether the notifier is between its start and its end, for any page."""
        invalidations = self.vm.invalidations
        await self._scheduler.point(invalidations.count_location.read)
        return invalidations.active_count > 0

    async def pause(self) -> None:
        """Let the notifier go on; the kernel tries again and again meanwhile.

        Locks:
            Releases and acquires again: ``lock``.
        """
        await self.lock.release()
        await self._scheduler.point(self._until_none_active, self._is_none_active)
        await self.lock.acquire_write()

    def _is_none_active(self) -> bool:
        return not self.vm.invalidations.active_count

    async def store(self, page: HostPage) -> None:
        """Keep ``page``."""
        await self._scheduler.point(self.location.write)
        self.page = page
        self.valid = True
        if self._scheduler.tracing and self.uhva is not None:
            self._scheduler.emit(
                PfnCacheRefreshed(self.name, self.gpa, self.generation, self.uhva)
            )

    async def purge(self) -> None:
        """Keep no page."""
        await self._scheduler.point(self.location.write)
        self.page = None
        self.valid = False


def fits(gpa: Gpa, length: int) -> bool:
    """Whether ``length`` bytes at ``gpa`` are in one page."""
    return gpa % PAGE_SIZE + length <= PAGE_SIZE


def check_fits(gpa: Gpa, length: int) -> None:
    """Refuse bytes that cross pages.

    Raises:
        MemoryRegionError: EINVAL.
    """
    if not fits(gpa, length):
        raise MemoryRegionError(
            errno.EINVAL, f"{length} bytes at {gpa:#x} are not in one page"
        )
