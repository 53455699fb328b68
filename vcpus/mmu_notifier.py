"""What the host's memory management tells KVM before and after it changes pages.

The start and the end of an invalidation must see the same slots, or the count of those
under way never returns to 0. So both count, under a lock, as what holds up a swap; the
read section covers each, not the time between them.

KVM: kvm_mmu_notifier_*, virt/kvm/kvm_main.c
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from memslots.slot import INVALID, MemorySlot
from memslots.slot_set import Memslots
from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gfn, Hva
from memslots.vm import Vm
from rcu.errors import RuleBroken
from vcpus.host_memory import HostMemory
from vcpus.lookup import dereference
from vcpus.pfn_cache import PfnCaches
from vcpus.shadow_mmu import ShadowMmu
from vcpus.tracepoints import InvalidationBegan, InvalidationEnded

OnRange = Callable[[MemorySlot, Gfn, Gfn], Awaitable[bool]]
"""What is done to pages ``[start, end)`` of a slot; returns whether it found any."""


class NothingToHandle(RuleBroken):
    """A slot was found for host addresses of which it has none.

    The kernel does not look: it would handle an empty range, and lock for nothing.
    """

    checker = "notifier-balanced"
    why = "an invalidation touches the slots that have pages in its range, and no other"


@attrs.frozen
class HvaWalk:
    """What a walk over the slots of a range has met.

    Attributes:
        sets: The set of each address space that was walked.
        slots: How many slots met the range.
        found: Whether the handler found anything.
    """

    sets: tuple[int, ...]
    slots: int
    found: bool


class MmuNotifier:
    """The VM's registration with the host.

    Args:
        vm: The VM.
        mmu: Its page tables.
        host: The memory that changes.

    Attributes:
        pfn_caches: Caches of host pages, told first.

    KVM: struct mmu_notifier of struct kvm, include/linux/kvm_host.h
    """

    def __init__(self, vm: Vm, mmu: ShadowMmu, host: HostMemory) -> None:
        self.vm = vm
        self.mmu = mmu
        self.host = host
        self.pfn_caches = PfnCaches(vm)
        self._scheduler = vm.scheduler

    # What the host does; each tells KVM before and after.

    async def unmap(self, start: Hva, end: Hva) -> None:
        """Give back the pages of ``[start, end)``, as ``MADV_DONTNEED`` does."""
        await self.invalidate_range_start(start, end)
        for hva in range(start, end, PAGE_SIZE):
            await self.host.unmap(Hva(hva))
        await self.invalidate_range_end(start, end)

    async def replace(self, hva: Hva) -> None:
        """Put another page in the place of that of ``hva``, as KSM does."""
        start = Hva(hva // PAGE_SIZE * PAGE_SIZE)
        end = Hva(start + PAGE_SIZE)
        await self.invalidate_range_start(start, end)
        await self.host.unmap(start)
        await self.change_pte(start)
        await self.invalidate_range_end(start, end)

    # What KVM is told.

    async def invalidate_range_start(self, start: Hva, end: Hva) -> None:
        """Stop using the pages of ``[start, end)``; until the end comes, use no others.

        Locks:
            Acquires: ``mn_invalidate_lock``, ``mmu_lock`` for writing.
            Waits for: vCPUs to leave the guest.

        KVM: kvm_mmu_notifier_invalidate_range_start, virt/kvm/kvm_main.c
        """
        await self.vm.invalidations.begin()
        await self.pfn_caches.invalidate(start, end)
        async with self.vm.srcu.reading():
            walk = await self.handle_hva_range(
                start, end, self.begin, self.mmu.unmap_gfn_range
            )
            if self._scheduler.tracing:
                count = self.mmu.invalidate_in_progress
                self._scheduler.emit(
                    InvalidationBegan(start, end, walk.sets, walk.slots, count)
                )

    async def invalidate_range_end(self, start: Hva, end: Hva) -> None:
        """The pages of ``[start, end)`` have changed.

        Locks:
            Acquires: ``mmu_lock`` for writing, ``mn_invalidate_lock``.

        KVM: kvm_mmu_notifier_invalidate_range_end, virt/kvm/kvm_main.c
        """
        async with self.vm.srcu.reading():
            walk = await self.handle_hva_range(start, end, self.end, None)
            if self._scheduler.tracing:
                count = self.mmu.invalidate_in_progress
                self._scheduler.emit(
                    InvalidationEnded(start, end, walk.sets, walk.slots, count)
                )
        await self.vm.invalidations.end()

    async def begin(self, start: Hva, end: Hva) -> None:
        """Before the first slot of an invalidation that begins."""
        await self.mmu.invalidate_begin(start, end)

    async def end(self, start: Hva, end: Hva) -> None:
        """Before the first slot of an invalidation that ends."""
        await self.mmu.invalidate_end()

    async def clear_young(self, start: Hva, end: Hva) -> bool:
        """Clear the accessed bits of ``[start, end)``; TLBs keep theirs.

        Returns:
            Whether any page had been used since the last time.

        KVM: kvm_mmu_notifier_clear_young, virt/kvm/kvm_main.c
        """
        async with self.vm.srcu.reading():
            walk = await self.handle_hva_range(
                start, end, None, self.mmu.age_gfn_range, flush=False
            )
        return walk.found

    async def change_pte(self, hva: Hva) -> None:
        """The page of ``hva`` is another one now: drop what maps the old one.

        A slot that is INVALID is skipped: nothing may be mapped for it any more.

        Locks:
            Holds on entry: an invalidation of this address is under way.

        KVM: kvm_mmu_notifier_change_pte, virt/kvm/kvm_main.c
        """
        async with self.vm.srcu.reading():
            await self.handle_hva_range(
                hva, Hva(hva + PAGE_SIZE), None, self.change_spte_gfn
            )

    async def change_spte_gfn(self, slot: MemorySlot, first: Gfn, behind: Gfn) -> bool:
        """Drop the translations of pages ``[first, behind)`` of a slot that is valid.

        KVM: kvm_change_spte_gfn, virt/kvm/kvm_main.c
        """
        if slot.flags & INVALID:
            return False
        return await self.mmu.unmap_gfn_range(slot, first, behind)

    async def handle_hva_range(
        self,
        start: Hva,
        end: Hva,
        on_lock: Callable[[Hva, Hva], Awaitable[None]] | None,
        handler: OnRange | None,
        *,
        flush: bool = True,
    ) -> HvaWalk:
        """Call ``handler`` for what each slot has of ``[start, end)``.

        Args:
            start: First host address, in bytes.
            end: First host address behind.
            on_lock: Called once ``mmu_lock`` is taken, which is before the first slot.
            handler: What to do.
            flush: Whether TLBs must forget what ``handler`` has found.

        Raises:
            NothingToHandle: A slot was found that has nothing of the range.

        Locks:
            Holds on entry: a read section of ``kvm->srcu``.
            Acquires: ``mmu_lock`` for writing, if any slot meets the range.

        KVM: __kvm_handle_hva_range, virt/kvm/kvm_main.c
        """
        vm = self.vm
        sets = []
        met = 0
        found = False
        if end <= start:
            return HvaWalk((), 0, found=False)
        for as_id in range(vm.address_space_count):
            slots = await dereference(vm, as_id)
            sets.append(slots.node_idx)
            await self._scheduler.point(slots.lookup)
            for slot in self.slots_in(slots, start, end):
                if not met:
                    await self.mmu.lock.acquire_write()
                    if on_lock is not None:
                        await on_lock(start, end)
                met += 1
                if handler is not None:
                    await self._scheduler.point(vm.slot_memory.read)
                    first, behind = gfn_range(slot, start, end)
                    if behind <= first:
                        raise NothingToHandle(
                            f"{slot!r} has nothing of {start:#x}..{end:#x}"
                        )
                    found |= await handler(slot, first, behind)
        if found and flush:
            await self.mmu.flush_remote_tlbs()
        if met:
            await self.mmu.lock.release()
        return HvaWalk(tuple(sets), met, found)

    def slots_in(self, slots: Memslots, start: Hva, end: Hva) -> list[MemorySlot]:
        """The slots of a set that host addresses ``[start, end)`` touch.

        The tree takes an inclusive range.

        KVM: kvm_for_each_memslot_in_hva_range, virt/kvm/kvm_main.c
        """
        return list(slots.in_hva_range(start, Hva(end - 1)))


def gfn_range(slot: MemorySlot, start: Hva, end: Hva) -> tuple[Gfn, Gfn]:
    """The pages of ``slot`` that host addresses ``[start, end)`` touch, half-open.

    KVM: hva_to_gfn_memslot, include/linux/kvm_host.h
    """
    base = slot.userspace_addr
    first = max(start, base) - base
    behind = min(end, Hva(slot.last_hva + 1)) - base
    return (
        Gfn(slot.base_gfn + (first >> PAGE_SHIFT)),
        Gfn(slot.base_gfn + ((behind + PAGE_SIZE - 1) >> PAGE_SHIFT)),
    )
