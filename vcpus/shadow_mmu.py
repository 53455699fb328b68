"""The page tables that a guest runs on, and how they are kept true.

A root holds the translations of one address space. Direct roots (TDP) are walked by
range; shadow roots, which a nested guest needs, are found through the reverse maps of a
slot. Processors cache translations in TLBs: what is zapped here is gone for the guest
only after a flush.

KVM: arch/x86/kvm/mmu/mmu.c, arch/x86/kvm/mmu/tdp_mmu.c
"""

from __future__ import annotations

import attrs

from memslots.slot import MemorySlot
from memslots.units import Gfn, Hva
from memslots.vm import Vm
from rcu.operation import Location
from vcpus.lookup import dereference
from vcpus.mmu_lock import HVA_MAX, MmuUser, Request
from vcpus.page_tables import MmioSpte, Root, Spte
from vcpus.reverse_maps import ReverseMaps, rmaps_of
from vcpus.shadow_roots import ShadowRoots
from vcpus.tracepoints import (
    GfnRangeZapBegan,
    GfnRangeZapped,
    RootZapped,
    SpteInstalled,
    SpteZapped,
)


class ShadowMmu(ReverseMaps):
    """The page tables of a VM.

    Args:
        vm: Whose.
        shadow_roots: Allocates what the first shadow root needs.

    Attributes:
        roots: Those that may still hold entries, in the order of their making.
        valid_gen: Roots of another generation are obsolete.
        max_pages: How many pages shadow page tables may take; None if there is no
            bound.
        ad_enabled: Whether processors note in page tables what they use. If not, a page
            is made inaccessible to find out.

    KVM: struct kvm_arch, arch/x86/include/asm/kvm_host.h
    """

    def __init__(self, vm: Vm, shadow_roots: ShadowRoots) -> None:
        super().__init__(vm)
        self.shadow_roots = shadow_roots
        self.roots: list[Root] = []
        self.roots_location = Location("roots")
        self.valid_gen = 0
        self.max_pages: int | None = None
        self.ad_enabled = True
        self._roots_made = 0

    # Roots.

    async def load_root(self, vcpu: MmuUser) -> None:
        """Give ``vcpu`` a root that is valid now.

        Locks:
            Holds on entry: a read section of ``kvm->srcu``.
            Acquires: ``slots_arch_lock`` before the first shadow root; ``mmu_lock`` for
                writing.

        KVM: kvm_mmu_load, arch/x86/kvm/mmu/mmu.c
        """
        if vcpu.nested:
            await self.shadow_roots.first_alloc()
        await self.lock.acquire_write()
        await self._scheduler.point(self.roots_location.write)
        vcpu.root = self._valid_root(vcpu.as_id, shadow=vcpu.nested)
        await self.lock.release()

    def _valid_root(self, as_id: int, *, shadow: bool) -> Root:
        for root in self.roots:
            fits = root.as_id == as_id and root.shadow == shadow
            if fits and not self.is_obsolete(root):
                return root
        root = Root(self._roots_made, as_id, self.valid_gen, shadow=shadow)
        self._roots_made += 1
        self.roots.append(root)
        return root

    def is_obsolete(self, root: Root) -> bool:
        """Whether nothing may be mapped in ``root`` any more.

        KVM: is_obsolete_root, arch/x86/kvm/mmu/mmu.c
        """
        return root.invalid or root.valid_gen != self.valid_gen

    async def zap_all_fast(self) -> None:
        """Make every root obsolete, and leave no translation in those that were.

        Locks:
            Holds on entry: ``slots_lock``.
            Acquires: ``mmu_lock`` for writing, then shared.
            Waits for: vCPUs to leave the guest.

        KVM: kvm_mmu_zap_all_fast, arch/x86/kvm/mmu/mmu.c
        """
        self.vm.slots_lock.assert_held()
        await self.lock.acquire_write()
        await self._scheduler.point(self.roots_location.write)
        self.valid_gen ^= 1
        for root in self.roots:
            root.invalid = True
        await self.make_all_requests(Request.FREE_OBSOLETE_ROOTS)
        await self.zap_invalid_roots(shadow=True)
        await self.lock.release()
        await self.lock.acquire_read()
        await self.zap_invalid_roots(shadow=False)
        await self.lock.release()

    async def zap_all(self) -> None:
        """Leave no translation, once nobody runs the guest any more.

        Locks:
            Holds on entry: a read section of ``kvm->srcu``.
            Acquires: ``mmu_lock`` for writing.

        KVM: kvm_mmu_zap_all, arch/x86/kvm/mmu/mmu.c
        """
        await self.lock.acquire_write()
        await self._scheduler.point(self.roots_location.write)
        for root in self.roots:
            root.invalid = True
        await self.zap_invalid_roots(shadow=True)
        await self.zap_invalid_roots(shadow=False)
        await self.lock.release()

    async def zap_invalid_roots(self, *, shadow: bool) -> None:
        """Zap every entry of the invalid roots of one kind, and forget these roots.

        Locks:
            Holds on entry: ``mmu_lock``; for writing if they are shadow roots.
        """
        zapped = [r for r in self.roots if r.invalid and r.shadow == shadow]
        for root in zapped:
            for gfn in sorted(root.entries):
                await self.zap(root, gfn)
        if zapped and shadow:
            # Not for direct roots: who was told to leave one flushes its own TLB.
            await self.flush_remote_tlbs()
        if zapped:
            await self._scheduler.point(self.roots_location.write)
            self.roots = [root for root in self.roots if root not in zapped]
            self._tell_zapped(zapped)

    def _tell_zapped(self, roots: list[Root]) -> None:
        if self._scheduler.tracing:
            for root in roots:
                self._scheduler.emit(RootZapped(root.number))

    async def make_pages_available(self) -> None:
        """Zap the oldest shadow root if page tables take more than they may.

        Its users are told to find another; one of them may be the caller.

        Locks:
            Holds on entry: ``mmu_lock`` for writing.

        KVM: make_mmu_pages_available, arch/x86/kvm/mmu/mmu.c
        """
        if self.max_pages is None:
            return
        shadow = [root for root in self.roots if root.shadow]
        if sum(root.pages for root in shadow) < self.max_pages:
            return
        await self._scheduler.point(self.roots_location.write)
        shadow[0].invalid = True
        await self.make_all_requests(Request.FREE_OBSOLETE_ROOTS)
        await self.zap_invalid_roots(shadow=True)

    # Entries.

    async def install(self, root: Root, gfn: Gfn, slot: MemorySlot, spte: Spte) -> None:
        """Map a page.

        Locks:
            Holds on entry: ``mmu_lock``; for writing if ``root`` is a shadow root.

        KVM: tdp_mmu_map_handle_target_level, arch/x86/kvm/mmu/tdp_mmu.c
        """
        if root.shadow:
            await self.rmap_add(root, gfn, slot)
        await self._scheduler.point(root.location(gfn).write)
        root.entries[gfn] = spte
        self.tell_installed(root, gfn, spte)

    def tell_installed(self, root: Root, gfn: Gfn, spte: Spte) -> None:
        """Tell the trace what ``gfn`` is mapped to now."""
        if self._scheduler.tracing:
            self._scheduler.emit(
                SpteInstalled(
                    root.number,
                    root.as_id,
                    gfn,
                    spte.slot,
                    spte.page.hva,
                    spte.writable,
                )
            )

    async def install_mmio(self, root: Root, gfn: Gfn, generation: int) -> None:
        """Note that a page has no slot; what was mapped there is dropped first.

        Locks:
            Holds on entry: ``mmu_lock``; for writing if ``root`` is a shadow root.

        KVM: mark_mmio_spte, arch/x86/kvm/mmu/mmu.c
        """
        if await self.drop(root, gfn, MmioSpte(generation)):
            await self.flush_remote_tlbs()

    async def zap(self, root: Root, gfn: Gfn) -> bool:
        """Remove the entry of ``gfn``.

        Returns:
            Whether there was a translation, so that TLBs must be flushed.

        Locks:
            Holds on entry: ``mmu_lock``; for writing if ``root`` is a shadow root.
        """
        return await self.drop(root, gfn, None)

    async def drop(self, root: Root, gfn: Gfn, note: MmioSpte | None) -> bool:
        """Put ``note``, or nothing, in the place of the entry of ``gfn``, at once.

        Returns:
            Whether there was a translation, so that TLBs must be flushed.

        Locks:
            Holds on entry: ``mmu_lock``; for writing if ``root`` is a shadow root.

        KVM: drop_spte, arch/x86/kvm/mmu/mmu.c
        """
        if root.shadow and isinstance(root.entries.get(gfn), Spte):
            await self.rmap_remove(root, gfn)
        await self._scheduler.point(root.location(gfn).write)
        entry = root.entries.pop(gfn, None)
        if note is not None:
            root.entries[gfn] = note
        if not isinstance(entry, Spte):
            return False
        if self._scheduler.tracing:
            self._scheduler.emit(SpteZapped(root.number, root.as_id, gfn, entry.slot))
        return True

    def mapped(self, slot: MemorySlot, start: Gfn, end: Gfn) -> list[tuple[Root, Gfn]]:
        """Where pages ``[start, end)`` of ``slot`` are mapped, INVALID or not.

        Locks:
            Holds on entry: ``mmu_lock``.

        KVM: kvm_tdp_mmu_unmap_gfn_range, kvm_handle_gfn_range
        """
        found = [
            (root, gfn)
            for root in self.roots
            if root.as_id == slot.as_id and not root.shadow
            for gfn in sorted(root.entries)
            if start <= gfn < end and isinstance(root.entries[gfn], Spte)
        ]
        rmaps = rmaps_of(slot)
        if rmaps is not None:
            for offset in sorted(rmaps.entries):
                gfn = Gfn(slot.base_gfn + offset)
                if start <= gfn < end:
                    numbers = rmaps.entries[offset]
                    roots = [root for root in self.roots if root.number in numbers]
                    found += [(root, gfn) for root in roots]
        return found

    async def unmap_gfn_range(self, slot: MemorySlot, start: Gfn, end: Gfn) -> bool:
        """Remove the translations of pages ``[start, end)`` of ``slot``.

        Returns:
            Whether TLBs must be flushed.

        Locks:
            Holds on entry: ``mmu_lock`` for writing.

        KVM: kvm_unmap_gfn_range, arch/x86/kvm/mmu/mmu.c
        """
        flush = False
        for root, gfn in self.mapped(slot, start, end):
            flush |= await self.zap(root, gfn)
        return flush

    async def write_protect(self, slot: MemorySlot, start: Gfn, end: Gfn) -> bool:
        """Let writes to pages ``[start, end)`` of ``slot`` fault.

        Returns:
            Whether TLBs must be flushed.

        Locks:
            Holds on entry: ``mmu_lock`` for writing.

        KVM: kvm_mmu_slot_remove_write_access, arch/x86/kvm/mmu/mmu.c
        """
        flush = False
        for root, gfn in self.mapped(slot, start, end):
            flush |= await self.write_protect_entry(root, gfn)
        return flush

    async def write_protect_entry(self, root: Root, gfn: Gfn) -> bool:
        """Let writes through one translation fault.

        Returns:
            Whether TLBs must be flushed.

        KVM: spte_write_protect, arch/x86/kvm/mmu/mmu.c
        """
        await self._scheduler.point(root.location(gfn).write)
        entry = root.entries.get(gfn)
        if not isinstance(entry, Spte) or not entry.writable:
            return False
        root.entries[gfn] = attrs.evolve(entry, writable=False)
        return True

    async def age_gfn_range(self, slot: MemorySlot, start: Gfn, end: Gfn) -> bool:
        """Clear the accessed bits of pages ``[start, end)``; no TLB is flushed.

        Returns:
            Whether any had been used.

        Locks:
            Holds on entry: ``mmu_lock`` for writing.

        KVM: kvm_age_gfn, arch/x86/kvm/mmu/mmu.c
        """
        young = False
        for root, gfn in self.mapped(slot, start, end):
            await self._scheduler.point(root.location(gfn).write)
            entry = root.entries.get(gfn)
            if isinstance(entry, Spte) and entry.accessed:
                # Without the bit, writing is allowed again by the fault that follows.
                writable = entry.writable and self.ad_enabled
                root.entries[gfn] = attrs.evolve(
                    entry, accessed=False, writable=writable
                )
                young = True
        return young

    async def zap_slot(self, slot: MemorySlot) -> None:
        """Remove the translations of one slot, and nothing else.

        Locks:
            Acquires: ``mmu_lock`` for writing.
            Waits for: vCPUs to leave the guest.

        KVM: kvm_mmu_zap_memslot, arch/x86/kvm/mmu/mmu.c
        """
        await self.lock.acquire_write()
        if await self.unmap_gfn_range(slot, slot.base_gfn, slot.end_gfn):
            await self.flush_remote_tlbs()
        await self.lock.release()

    async def zap_gfn_range(self, start: Gfn, end: Gfn) -> None:
        """Remove the translations of pages ``[start, end)`` of every address space.

        Faults that are under way are retried whatever they map: the range of an
        invalidation is in host addresses, and these pages may lie anywhere.

        Locks:
            Holds on entry: a read section of ``kvm->srcu`` or ``slots_lock``.
            Acquires: ``mmu_lock`` for writing.

        KVM: kvm_zap_gfn_range, arch/x86/kvm/mmu/mmu.c
        """
        if end <= start:
            return
        await self.lock.acquire_write()
        await self.invalidate_begin(Hva(0), HVA_MAX)
        if self._scheduler.tracing:
            self._scheduler.emit(GfnRangeZapBegan(start, end))
        for as_id in range(self.vm.address_space_count):
            slots = await dereference(self.vm, as_id)
            await self._scheduler.point(slots.lookup)
            for slot in list(slots.in_gfn_range(start, end)):
                first = Gfn(max(start, slot.base_gfn))
                behind = Gfn(min(end, slot.end_gfn))
                if await self.unmap_gfn_range(slot, first, behind):
                    await self.flush_remote_tlbs()
                await self.cond_resched()
        await self.invalidate_end()
        if self._scheduler.tracing:
            self._scheduler.emit(GfnRangeZapped(start, end))
        await self.lock.release()

    async def cond_resched(self) -> None:
        """Let others have ``mmu_lock`` for a moment; nobody needs a flush any more.

        Locks:
            Releases and acquires again: ``mmu_lock``, for writing.

        KVM: tdp_mmu_iter_cond_resched, arch/x86/kvm/mmu/tdp_mmu.c
        """
        await self.lock.release()
        await self.lock.acquire_write()
