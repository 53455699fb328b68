"""A guest page whose host page is remembered.

The cache has no reference of its own to the page: the MMU notifier takes it away before
the page is freed, and waits for whoever touches it. How a page gets into the cache is
in `vcpus.pfn_refresh`.

Use begins and ends under the mutex that serialises refreshes, as in newer kernels.

KVM: virt/kvm/pfncache.c
"""

from __future__ import annotations

from typing import ClassVar

from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gfn, Gpa, Hva
from memslots.vm import Vm
from rcu.errors import RuleBroken, SimulatorBug
from rcu.locks import SpinLock
from rcu.operation import Location
from vcpus.guest_memory import GuestMemory
from vcpus.host_memory import HostPage
from vcpus.lookup import Looker, dereference
from vcpus.pfn_refresh import RefreshedPage, check_fits, fits
from vcpus.shadow_mmu import ShadowMmu
from vcpus.tracepoints import PfnCacheInvalidated


class WrongPage(RuleBroken):
    """A cache was valid for one address and held the page of another."""

    checker: ClassVar[str] = "no-stale-translation"


class PfnCaches:
    """The caches of a VM that its MMU notifier must know.

    Args:
        vm: The VM.

    Attributes:
        lock: Protects ``active``; the notifier takes the locks of caches inside it.
        active: The caches that may hold a page.

    KVM: gpc_list and gpc_lock of struct kvm, include/linux/kvm_host.h
    """

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.lock = SpinLock(vm.scheduler, "gpc_lock")
        self.location = Location("gpc_list")
        self.active: list[PfnCache] = []
        self._scheduler = vm.scheduler

    async def add(self, cache: PfnCache) -> None:
        """Let the notifier find ``cache``."""
        async with self.lock:
            await self._scheduler.point(self.location.write)
            self.active.insert(0, cache)

    async def remove(self, cache: PfnCache) -> None:
        """Let the notifier not find ``cache`` any more."""
        async with self.lock:
            await self._scheduler.point(self.location.write)
            self.active.remove(cache)

    async def invalidate(self, start: Hva, end: Hva) -> None:
        """Let no cache hold a page of ``[start, end)``, in bytes.

        Locks:
            Acquires: ``gpc_lock``, and in it the lock of each cache.

        KVM: gfn_to_pfn_cache_invalidate_start, virt/kvm/pfncache.c
        """
        async with self.lock:
            await self._scheduler.point(self.location.read)
            for cache in self.active:
                await cache.invalidate(start, end)


class PfnCache(RefreshedPage):
    """A guest page whose host page several threads use.

    Its methods, but for `invalidate` and `deactivate`, are called inside a read section
    of ``kvm->srcu``.

    Args:
        memory: What it translates and accesses.
        mmu: Counts the invalidations that have ended.
        caches: Where the notifier finds it.
        name: How reports call it.

    KVM: struct gfn_to_pfn_cache, include/linux/kvm_types.h
    """

    def __init__(
        self,
        memory: GuestMemory,
        mmu: ShadowMmu,
        caches: PfnCaches,
        name: str = "gpc",
    ) -> None:
        super().__init__(memory, mmu, name)
        self.caches = caches

    # Accesses.

    async def read(self, gpa: Gpa, length: int = 1) -> int:
        """Read bytes of one page.

        Returns:
            What the page holds.

        Raises:
            MemoryRegionError: See `refresh`.

        Locks:
            Acquires: ``lock``, shared; what `refresh` acquires.
        """
        page = await self.acquire_page(gpa, length)
        value = await self.read_locked(page, gpa, length)
        await self.lock.release()
        return value

    async def try_read(self, gpa: Gpa, length: int = 1) -> int | None:
        """Read bytes of one page if it is valid, as whoever must not sleep does.

        Returns:
            What the page holds; None if it would have to be refreshed.

        Locks:
            Acquires: ``lock``, shared.

        KVM: kvm_xen_set_evtchn_fast, arch/x86/kvm/xen.c
        """
        value = None
        await self.lock.acquire_read()
        if await self.check(gpa, length):
            value = await self.read_locked(self.valid_page(), gpa, length)
        await self.lock.release()
        return value

    async def read_locked(self, page: HostPage, gpa: Gpa, length: int) -> int:
        """Read bytes of the page.

        Locks:
            Holds on entry: ``lock``.
        """
        await self._scheduler.point(page.location.read)
        value = page.value
        self._tell_copied(gpa, page, length, write=False)
        return value

    async def write(
        self, gpa: Gpa, value: int, length: int = 1, vcpu: Looker | None = None
    ) -> None:
        """Write bytes of one page, and mark it dirty.

        Args:
            gpa: Where.
            value: What the page is to hold.
            length: How many bytes.
            vcpu: The vCPU whose thread it is, if any.

        Raises:
            MemoryRegionError: See `refresh`.

        Locks:
            Acquires: ``lock``, shared; what `refresh` acquires.

        KVM: kvm_xen_update_runstate_guest, arch/x86/kvm/xen.c
        """
        page = await self.acquire_page(gpa, length)
        await self._scheduler.point(page.location.write)
        page.value = value
        self._tell_copied(gpa, page, length, write=True)
        await self.mark_page_dirty(gpa, vcpu)
        await self.lock.release()

    async def acquire_page(self, gpa: Gpa, length: int) -> HostPage:
        """The host's page; it is not taken away until ``lock`` is released.

        Raises:
            MemoryRegionError: See `refresh`; ``lock`` is not held.
            WrongPage: It is valid and holds the page of another address.

        Locks:
            Acquires and keeps: ``lock``, shared.
        """
        await self.lock.acquire_read()
        while not await self.check(gpa, length):
            await self.lock.release()
            await self.refresh(gpa, length)
            await self.lock.acquire_read()
        return self.valid_page()

    def valid_page(self) -> HostPage:
        """The host's page, since it was found valid.

        Raises:
            WrongPage: It is the page of another address.
        """
        page, uhva = self.page, self.uhva
        if page is None or uhva is None:
            raise SimulatorBug(f"{self.name} is valid and holds no page")
        if not 0 <= uhva - page.hva < PAGE_SIZE:
            raise WrongPage(
                f"{self.name} is valid for {uhva:#x} and holds the page of"
                f" {page.hva:#x}"
            )
        return page

    async def mark_page_dirty(self, gpa: Gpa, vcpu: Looker | None) -> None:
        """Remember that the page was written; called after the write.

        Locks:
            Holds on entry: ``lock``.
        """
        if self.memslot is not None:
            gfn = Gfn(gpa >> PAGE_SHIFT)
            await self.memory.mark_page_dirty_in_slot(vcpu, self.memslot, gfn)

    async def check(self, gpa: Gpa, length: int) -> bool:
        """Whether the page may be touched for these bytes until ``lock`` is released.

        Locks:
            Holds on entry: ``lock``, shared.

        KVM: kvm_gfn_to_pfn_cache_check, virt/kvm/pfncache.c
        """
        self.lock.assert_held()
        slots = await dereference(self.vm, 0)
        await self._scheduler.point(slots.generation_location.read)
        generation = slots.generation
        await self._scheduler.point(self.location.read)
        return (
            self.active
            and fits(gpa, length)
            and self.gpa == gpa
            and self.generation == generation
            and self.uhva is not None
            and self.valid
        )

    # Whether it is in use.

    async def activate(self, gpa: Gpa, length: int = 1) -> None:
        """Begin to use it, and make it valid for a guest address.

        Args:
            gpa: The guest address.
            length: How many bytes are to be accessed there.

        Raises:
            MemoryRegionError: EINVAL, the bytes cross pages; EFAULT, the page cannot be
                written, but the cache is active.

        Locks:
            Acquires: ``refresh_lock``, ``gpc_lock``, ``lock`` for writing.

        KVM: kvm_gpc_activate, virt/kvm/pfncache.c
        """
        check_fits(gpa, length)
        slots = await dereference(self.vm, 0)
        async with self.refresh_lock:
            if not await self.is_active():
                await self.begin_use()
            await self.refresh_serialised(slots, gpa)

    async def deactivate(self) -> None:
        """End its use.

        Locks:
            Acquires: ``refresh_lock``, ``lock`` for writing, ``gpc_lock``.

        KVM: kvm_gpc_deactivate, virt/kvm/pfncache.c
        """
        async with self.refresh_lock:
            if await self.is_active():
                await self.end_use()

    async def begin_use(self) -> None:
        """Let the notifier find it, before it may hold a page.

        Locks:
            Holds on entry: ``refresh_lock``.
        """
        await self.caches.add(self)
        await self.set_active(active=True)

    async def end_use(self) -> None:
        """Let nobody use its page, before the notifier loses sight of it.

        Locks:
            Holds on entry: ``refresh_lock``.
        """
        await self.set_active(active=False)
        await self.caches.remove(self)

    async def set_active(self, *, active: bool) -> None:
        """Let `check` and `refresh` succeed, or fail, from now on.

        Locks:
            Acquires: ``lock`` for writing.
        """
        await self.lock.acquire_write()
        await self.purge()
        self.active = active
        await self.lock.release()

    # What the notifier does.

    async def invalidate(self, start: Hva, end: Hva) -> None:
        """Let go of the page if it is one of ``[start, end)``, in bytes.

        Locks:
            Acquires: ``lock`` for writing.
            Waits for: whoever touches the page.
        """
        await self.lock.acquire_write()
        await self._scheduler.point(self.location.write)
        uhva = self.uhva
        if self.valid and uhva is not None and start <= uhva < end:
            self.valid = False
            if self._scheduler.tracing:
                self._scheduler.emit(PfnCacheInvalidated(self.name, uhva))
        await self.lock.release()

    def _tell_copied(
        self, gpa: Gpa, page: HostPage, length: int, *, write: bool
    ) -> None:
        hva = Hva(page.hva + gpa % PAGE_SIZE)
        self.memory.tell_copied(0, gpa, hva, length, "pfn-cache", write=write)
