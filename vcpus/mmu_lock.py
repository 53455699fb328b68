"""What ``mmu_lock`` protects apart from page tables: invalidations, and TLB flushes.

A fault resolves its page without the lock. What the host does meanwhile is counted
here, so that the fault can tell, with the lock held, whether it was in vain.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Protocol

from memslots.units import Hva
from memslots.vm import Vm
from rcu.locks import RwLock
from rcu.operation import Location
from vcpus.page_tables import Root

HVA_MAX = Hva(1 << 64)
"""First address behind all host addresses."""


class Request(IntFlag):
    """What a vCPU must do before it enters the guest again.

    KVM: KVM_REQ_TLB_FLUSH, KVM_REQ_MMU_FREE_OBSOLETE_ROOTS
    """

    TLB_FLUSH = 1 << 0
    FREE_OBSOLETE_ROOTS = 1 << 1


class MmuUser(Protocol):
    """A vCPU as far as the MMU goes; see `vcpus.vcpu.Vcpu`."""

    index: int
    as_id: int
    nested: bool
    root: Root | None

    async def make_request(self, request: Request) -> None:
        """Have it do ``request`` before it enters the guest again."""

    async def wait_for_exit(self) -> None:
        """Wait until it has been outside the guest since now."""

    async def kick(self) -> None:
        """Wake it if it sleeps."""


class MmuLock:
    """The lock, the invalidations under way, and who must be told.

    Args:
        vm: Whose.

    Attributes:
        lock: ``mmu_lock``: protects page tables, reverse maps and what follows.
        vcpus: Who runs on the page tables.
        invalidate_seq: How many invalidations have ended.
        invalidate_in_progress: How many are under way.
        invalidate_range: Host addresses that they may touch, half-open, in bytes.
        invalidate_location: Where these three are read and written.

    KVM: struct kvm, include/linux/kvm_host.h
    """

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.lock = RwLock(vm.scheduler, "mmu_lock")
        self.vcpus: list[MmuUser] = []
        self.invalidate_seq = 0
        self.invalidate_in_progress = 0
        self.invalidate_range = (Hva(0), Hva(0))
        self.invalidate_location = Location("mmu_invalidate_seq")
        self._scheduler = vm.scheduler

    # Invalidations.

    async def invalidate_begin(self, start: Hva, end: Hva) -> None:
        """Let faults on host addresses ``[start, end)`` retry until it has ended.

        Locks:
            Holds on entry: ``mmu_lock`` for writing.

        KVM: kvm_mmu_invalidate_begin, virt/kvm/kvm_main.c
        """
        await self._scheduler.point(self.invalidate_location.write)
        self.invalidate_in_progress += 1
        if self.invalidate_in_progress > 1:
            start = min(start, self.invalidate_range[0])
            end = max(end, self.invalidate_range[1])
        self.invalidate_range = (start, end)

    async def invalidate_end(self) -> None:
        """Let faults that began before it retry once more.

        Locks:
            Holds on entry: ``mmu_lock`` for writing.

        KVM: kvm_mmu_invalidate_end, virt/kvm/kvm_main.c
        """
        await self._scheduler.point(self.invalidate_location.write)
        self.invalidate_seq += 1
        self.invalidate_in_progress -= 1

    async def snapshot_seq(self) -> int:
        """How many invalidations have ended; read before the page is resolved."""
        await self._scheduler.point(self.invalidate_location.read)
        return self.invalidate_seq

    def must_retry(self, seq: int, hva: Hva) -> bool:
        """Whether what was resolved for ``hva`` since ``seq`` may be gone.

        Locks:
            Holds on entry: ``mmu_lock``.

        KVM: mmu_invalidate_retry_hva, include/linux/kvm_host.h
        """
        start, end = self.invalidate_range
        under_way = self.invalidate_in_progress > 0 and start <= hva < end
        return under_way or self.invalidate_seq != seq

    # TLBs and requests.

    async def make_all_requests(self, request: Request) -> None:
        """Tell every vCPU, and wait until none runs the guest without knowing.

        KVM: kvm_make_all_cpus_request, virt/kvm/kvm_main.c
        """
        for vcpu in self.vcpus:
            await vcpu.make_request(request)
        for vcpu in self.vcpus:
            await vcpu.wait_for_exit()

    async def flush_remote_tlbs(self) -> None:
        """Let no vCPU use a translation that has been removed.

        Waits for: vCPUs to leave the guest.

        KVM: kvm_flush_remote_tlbs, virt/kvm/kvm_main.c
        """
        await self.make_all_requests(Request.TLB_FLUSH)
