"""A guest CPU: the run loop, and what it does on an exit.

The thread of a vCPU is in a read section of ``kvm->srcu`` whenever it runs in KVM, and
in none while it runs the guest or sleeps. So one section covers one exit, and the guest
itself is no reader.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum

import attrs

from memslots.errors import MemoryRegionError
from memslots.slot import MemorySlot
from memslots.units import Gpa
from memslots.vm import Vm
from rcu.errors import WrongUnlock
from rcu.operation import Location, Operation
from vcpus.guest_memory import GuestMemory, Outcome


class Exit(Enum):
    """Why a guest leaves guest mode."""

    READ = "read"
    WRITE = "write"
    EMULATED_READ = "emulated-read"
    EMULATED_WRITE = "emulated-write"
    MIGRATE = "migrate"


@attrs.frozen
class Access:
    """What the guest does next.

    Attributes:
        exit: What it does, seen by KVM.
        gpa: Where in guest memory, in bytes.
    """

    exit: Exit
    gpa: Gpa


class Vcpu:
    """One guest CPU.

    Args:
        vm: Whose.
        index: Which, from 0.
        memory: Guest memory as it accesses it.
        as_id: The address space it is in.

    Attributes:
        last_used_slot: What its last lookup found.
        last_used_slot_gen: Generation of the set in which it was found.
        srcu_idx: Index of the one section that its thread may be in.
        must_exit: Whether it has been told to leave the run loop.
        exits: How often it left guest mode.

    KVM: struct kvm_vcpu, include/linux/kvm_host.h
    """

    def __init__(
        self, vm: Vm, index: int, memory: GuestMemory, *, as_id: int = 0
    ) -> None:
        self.vm = vm
        self.index = index
        self.memory = memory
        self.as_id = as_id
        self.last_used_slot: MemorySlot | None = None
        self.last_used_slot_gen = 0
        self.srcu_idx: int | None = None
        self.immediate_exit = Location(f"immediate_exit of vcpu{index}")
        self.must_exit = False
        self.exits_location = Location(f"exits of vcpu{index}")
        self.exits = 0
        self._scheduler = vm.scheduler
        self._run_guest = Operation(
            "run the guest",
            reads=(self.immediate_exit,),
            writes=(self.exits_location,),
        )
        self._handlers: dict[Exit, Callable[[Gpa], Awaitable[None]]] = {
            Exit.READ: self._touch_for_read,
            Exit.WRITE: self._touch_for_write,
            Exit.EMULATED_READ: self._emulate_read,
            Exit.EMULATED_WRITE: self._emulate_write,
            Exit.MIGRATE: self._migrate,
        }

    async def run(self, accesses: Sequence[Access], exits: int | None) -> None:
        """Run the guest until it has made its exits or is told to leave.

        Args:
            accesses: What the guest does, over and over.
            exits: How many of them it makes; None goes on until it is told to leave.

        KVM: kvm_arch_vcpu_ioctl_run, vcpu_run, arch/x86/kvm/x86.c
        """
        await self.srcu_read_lock()
        place = 0
        while exits != 0 and await self.enter_guest():
            access = accesses[place]
            await self._handlers[access.exit](access.gpa)
            place = (place + 1) % len(accesses)
            if exits is not None:
                exits -= 1
        await self.srcu_read_unlock()

    async def enter_guest(self) -> bool:
        """Run the guest until it exits.

        Returns:
            Whether it exited by itself; false if it was told to leave.

        KVM: vcpu_enter_guest, arch/x86/kvm/x86.c
        """
        await self.srcu_read_unlock()
        await self._scheduler.point(self._run_guest)
        self.exits += 1
        leave = self.must_exit
        await self.srcu_read_lock()
        return not leave

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

    async def _touch_for_read(self, gpa: Gpa) -> None:
        await self._touch(gpa, write=False)

    async def _touch_for_write(self, gpa: Gpa) -> None:
        await self._touch(gpa, write=True)

    async def _touch(self, gpa: Gpa, *, write: bool) -> None:
        """Let the guest fault until the access is resolved."""
        while await self.memory.fault_in(self, gpa, write=write) is Outcome.RETRY:
            # Back to the guest, which faults again: the section must end in between,
            # or the writer who made the slot INVALID would wait for ever.
            if not await self.enter_guest():
                break

    async def _emulate_read(self, gpa: Gpa) -> None:
        """Emulate an instruction that reads; a bad address is the guest's problem."""
        try:
            await self.memory.read_guest(self, gpa)
        except MemoryRegionError:
            return

    async def _emulate_write(self, gpa: Gpa) -> None:
        """Emulate an instruction that writes; a bad address is the guest's problem."""
        try:
            await self.memory.write_guest(self, gpa, self.index + 1)
        except MemoryRegionError:
            return

    async def _migrate(self, gpa: Gpa) -> None:
        """Go on on the next processor, inside the section."""
        task = self._scheduler.current
        task.cpu = (task.cpu + 1) % self._scheduler.cpus
        await self.memory.fault_in(self, gpa, write=False)

    async def kick_out(self) -> None:
        """Tell it to leave the run loop at the next exit; called by other tasks.

        KVM: immediate_exit of struct kvm_run, include/uapi/linux/kvm.h
        """
        await self._scheduler.point(self.immediate_exit.write)
        self.must_exit = True
