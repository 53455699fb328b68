"""A guest CPU: the run loop, the guest itself, and what KVM does on an exit.

The thread of a vCPU is in a read section of ``kvm->srcu`` whenever it runs in KVM, and
in none while it runs the guest or sleeps. So one section covers one exit, and the guest
itself is no reader: it uses what its TLB and page tables hold until it must leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import attrs

from memslots.dirty_ring import DirtyRing
from memslots.errors import IoctlError
from memslots.slot import MemorySlot
from memslots.units import PAGE_SHIFT, Gfn, Gpa
from memslots.vm import Vm
from rcu.errors import WrongUnlock
from rcu.operation import Location, Operation
from vcpus.guest_memory import GuestMemory
from vcpus.mmu_lock import Request
from vcpus.page_fault import Outcome, PageFaults
from vcpus.page_tables import Root, Spte
from vcpus.tracepoints import GuestAccessed
from vcpus.vcpu_requests import Asleep, Mode, VcpuRequests


class AccessKind(Enum):
    """What a guest does; the first two exit only if no translation serves them."""

    READ = "read"
    WRITE = "write"
    EMULATED_READ = "emulated-read"
    EMULATED_WRITE = "emulated-write"
    PREFAULT = "prefault"
    MIGRATE = "migrate"
    HALT = "halt"


@attrs.frozen
class Access:
    """What the guest does next.

    Attributes:
        kind: What it is.
        gpa: Where in guest memory, in bytes.
        length: How much an emulated access takes, in bytes.
        value: What a write writes; by default the number of the vCPU, from 1.
    """

    kind: AccessKind
    gpa: Gpa
    length: int = 8
    value: int | None = None


class Vcpu(VcpuRequests):
    """One guest CPU.

    Args:
        vm: Whose.
        index: Which, from 0.
        memory: Guest memory as KVM accesses it for this vCPU.
        faults: Handles its page faults.
        as_id: The address space it is in: 1 is system management mode.
        nested: Whether it runs a guest of its guest, on a shadow root.

    Attributes:
        last_used_slot: What its last lookup found.
        last_used_slot_gen: Generation of the set in which it was found.
        mmio_gfn: A page that it remembers to have no slot.
        mmio_gen: Generation of the set in which that was so.
        srcu_idx: Index of the one section that its thread may be in.
        root: The page tables it runs on; None if it must find some.
        tlb: Translations that its processor remembers.
        is_idle: Whether it does nothing until somebody does something for it.
        dirty_ring: Where the pages that it writes are told, if the VM has rings.
        made: How many accesses its guest has made.
        progress: How many of them others have been told of.

    KVM: struct kvm_vcpu, include/linux/kvm_host.h
    """

    def __init__(
        self,
        vm: Vm,
        index: int,
        memory: GuestMemory,
        faults: PageFaults,
        *,
        as_id: int = 0,
        nested: bool = False,
    ) -> None:
        super().__init__(vm, index)
        self.memory = memory
        self.faults = faults
        self.as_id = as_id
        self.nested = nested
        self.last_used_slot: MemorySlot | None = None
        self.last_used_slot_gen = 0
        self.mmio_gfn: Gfn | None = None
        self.mmio_gen = 0
        self.srcu_idx: int | None = None
        self.root: Root | None = None
        self.tlb: dict[Gfn, Spte] = {}
        self.is_idle = False
        self.made = 0
        self.progress = 0
        self._accesses: Sequence[Access] = ()
        self._leaves = False
        self.progress_location = Location(f"progress of vcpu{index}")
        self._look_around = Operation(
            "look around",
            reads=(self._requests, self.immediate_exit),
            writes=(self.progress_location,),
        )
        self._fall_asleep = Operation(
            "fall asleep", reads=(self._kick,), writes=(self.progress_location,)
        )
        self._block = Operation("block on", reads=(self._kick, self.immediate_exit))
        self.dirty_ring = vm.dirty_log.vcpu_created(index)
        ring = [] if self.dirty_ring is None else [self.dirty_ring.location]
        self._ring_is_full = Operation(
            "look for room in", reads=ring, writes=(self.progress_location,)
        )
        self._room = Operation("wait for room in", reads=[*ring, self.immediate_exit])
        faults.mmu.vcpus.append(self)

    # The run loop.

    async def run(self, accesses: Sequence[Access], times: int | None) -> None:
        """Run the guest until it has made its accesses or is told to leave.

        Args:
            accesses: What the guest does, over and over.
            times: How many of them it makes; None goes on until it is told to leave.

        KVM: kvm_arch_vcpu_ioctl_run, vcpu_run, arch/x86/kvm/x86.c
        """
        self._task = self._scheduler.current
        self._accesses = accesses
        await self.srcu_read_lock()
        while times is None or self.made < times:
            if self.dirty_ring is not None:
                await self.leave_if_full(self.dirty_ring)
            if await self.enter_guest(times):
                await self.handle_exit(self.next_access())
            elif self._leaves:
                break
        await self.srcu_read_unlock()

    def next_access(self) -> Access:
        """What the guest does next."""
        return self._accesses[self.made % len(self._accesses)]

    async def enter_guest(self, times: int | None) -> bool:
        """Run the guest until it exits.

        Returns:
            Whether KVM must do something about its next access; false if it was only
            kicked, or is done.

        KVM: vcpu_enter_guest, arch/x86/kvm/x86.c
        """
        await self.handle_requests()
        if self.root is None:
            await self.load_root()
        await self.set_mode(Mode.IN_GUEST_MODE)
        # Only now: whoever removes translations looks at the mode after its grace
        # period, and must find this vCPU either there or still in its section.
        await self.srcu_read_unlock()
        exited = await self.run_guest(times)
        await self.set_mode(Mode.OUTSIDE_GUEST_MODE)
        await self.srcu_read_lock()
        return exited

    async def handle_requests(self) -> None:
        """Do what others have asked for.

        KVM: kvm_check_request, arch/x86/kvm/x86.c
        """
        await self._scheduler.point(self._requests.write)
        requests, self.requests = self.requests, Request(0)
        if requests & Request.FREE_OBSOLETE_ROOTS and self.root is not None:
            await self._scheduler.point(self.faults.mmu.roots_location.read)
            if self.faults.mmu.is_obsolete(self.root):
                self.root = None
        if requests & Request.TLB_FLUSH:
            self.tlb.clear()

    async def load_root(self) -> None:
        """Find page tables to run on.

        KVM: kvm_mmu_reload, arch/x86/kvm/mmu.h
        """
        await self.faults.mmu.load_root(self)
        self.tlb.clear()

    # The guest.

    async def run_guest(self, times: int | None) -> bool:
        """Make accesses until one needs KVM, or somebody wants the vCPU to leave.

        Returns:
            Whether one needs KVM.
        """
        while not await self.is_interrupted():
            if times is not None and self.made >= times:
                return False
            access = self.next_access()
            if access.kind not in {AccessKind.READ, AccessKind.WRITE}:
                return True
            write = access.kind is AccessKind.WRITE
            spte = await self.translate(access.gpa, write=write)
            if spte is None:
                return True
            await self.touch(spte, access, write=write)
            self.made += 1
        return False

    async def is_interrupted(self) -> bool:
        """Whether somebody wants it to leave the guest.

        KVM: kvm_vcpu_exit_request, arch/x86/kvm/x86.c
        """
        await self._scheduler.point(self._look_around)
        self.progress = self.made
        self._leaves = self.must_exit
        return bool(self.requests) or self.interrupted or self._leaves

    async def translate(self, gpa: Gpa, *, write: bool) -> Spte | None:
        """What the TLB or the page tables map ``gpa`` to, if they allow the access."""
        gfn = Gfn(gpa >> PAGE_SHIFT)
        cached = self.tlb.get(gfn)
        if cached is not None and (cached.writable or not write):
            return cached
        entry = await self.walk(gfn, write=write)
        if entry is None:
            self.tlb.pop(gfn, None)
        else:
            self.tlb[gfn] = entry
        return entry

    async def walk(self, gfn: Gfn, *, write: bool) -> Spte | None:
        """What the page tables map ``gfn`` to, if they allow the access.

        A processor notes in them that it has used the translation.
        """
        if self.root is None:
            return None
        location, entries = self.root.location(gfn), self.root.entries
        await self._scheduler.point(location.read)
        while True:
            entry = entries.get(gfn)
            if not isinstance(entry, Spte) or (write and not entry.writable):
                return None
            if entry.accessed:
                return entry
            if not self.faults.mmu.ad_enabled:
                return None
            await self._scheduler.point(location.write)
            if entries.get(gfn) is entry:
                entries[gfn] = attrs.evolve(entry, accessed=True)

    async def touch(self, spte: Spte, access: Access, *, write: bool) -> None:
        """Access the host's page, whatever has become of it meanwhile."""
        location = spte.page.location
        await self._scheduler.point(location.write if write else location.read)
        page = spte.page
        if write:
            page.value = self.index + 1 if access.value is None else access.value
        if self._scheduler.tracing:
            self._scheduler.emit(
                GuestAccessed(
                    self.index,
                    self.as_id,
                    access.gpa,
                    write,
                    spte.slot,
                    page.hva,
                    page.value,
                )
            )

    # Exits.

    async def handle_exit(self, access: Access) -> None:
        """Do what the guest cannot do itself.

        KVM: vmx_handle_exit, arch/x86/kvm/vmx/vmx.c
        """
        try:
            done = await self.handle_access(access)
        except IoctlError:
            done = True  # the guest, or user space, is told; it goes on
        if done:
            self.made += 1

    async def handle_access(self, access: Access) -> bool:
        """Do one access for the guest.

        Returns:
            Whether it has been made; the guest tries again if not.

        Raises:
            IoctlError: It cannot be made.
        """
        match access.kind:
            case AccessKind.READ | AccessKind.WRITE:
                write = access.kind is AccessKind.WRITE
                outcome = await self.faults.handle(self, access.gpa, write=write)
                # A retry goes back to the guest, which faults again: the section must
                # end in between, or the writer who waits for it would never be done.
                return outcome is Outcome.MMIO
            case AccessKind.EMULATED_READ:
                await self.memory.read_guest(self, access.gpa, access.length)
            case AccessKind.EMULATED_WRITE:
                value = self.index + 1 if access.value is None else access.value
                await self.memory.write_guest(self, access.gpa, value, access.length)
            case AccessKind.PREFAULT:
                await self.faults.prefault(self, access.gpa)
            case AccessKind.MIGRATE:
                self.migrate()
            case AccessKind.HALT:
                await self.halt()
        return True

    def migrate(self) -> None:
        """Go on on the next processor, inside the section."""
        task = self._scheduler.current
        task.cpu = (task.cpu + 1) % self._scheduler.cpus

    async def halt(self) -> None:
        """Sleep until somebody kicks; outside the section, for that may take long.

        KVM: kvm_vcpu_block, virt/kvm/kvm_main.c
        """
        asleep = await self.fall_asleep()
        await self.srcu_read_unlock()
        await self.block(asleep)
        await self.srcu_read_lock()

    async def fall_asleep(self) -> Asleep:
        """Have nothing to do; a kick from now on is not missed."""
        await self._scheduler.point(self._fall_asleep)
        self.is_idle = True
        return Asleep(self, self._kicks)

    async def block(self, asleep: Asleep) -> None:
        """Sleep until somebody kicks."""
        await self._scheduler.point(self._block, asleep.is_over)
        await self.wake_up()

    async def leave_if_full(self, ring: DirtyRing) -> None:
        """Let user space harvest and reset the ring before the guest goes on.

        KVM: kvm_dirty_ring_check_request, virt/kvm/dirty_ring.c
        """
        await self._scheduler.point(self._ring_is_full)
        if ring.is_soft_full:
            self.is_idle = True
            await self.srcu_read_unlock()
            await self._scheduler.point(self._room, self._has_room)
            await self.wake_up()
            await self.srcu_read_lock()

    async def wake_up(self) -> None:
        """Tell others that it goes on."""
        await self._scheduler.point(self.progress_location.write)
        self.is_idle = False

    def _has_room(self) -> bool:
        ring = self.dirty_ring
        return self.must_exit or ring is None or not ring.is_soft_full

    # The section of its thread.

    async def srcu_read_lock(self) -> None:
        """Enter the section of this thread.

        Raises:
            WrongUnlock: It is in one already; the stored index would be lost.

        KVM: kvm_vcpu_srcu_read_lock, include/linux/kvm_host.h
        """
        if self.srcu_idx is not None:
            raise WrongUnlock(f"vcpu{self.index} enters its read section twice")
        self.srcu_idx = await self.vm.srcu.read_lock()

    async def srcu_read_unlock(self) -> None:
        """Leave the section of this thread.

        Raises:
            WrongUnlock: It is in none.

        KVM: kvm_vcpu_srcu_read_unlock, include/linux/kvm_host.h
        """
        if self.srcu_idx is None:
            raise WrongUnlock(f"vcpu{self.index} leaves a read section it is not in")
        await self.vm.srcu.read_unlock(self.srcu_idx)
        self.srcu_idx = None
