"""What others ask of a vCPU, and how they learn that it knows.

A vCPU that runs the guest holds no lock and is in no read section. Whoever takes
something away from the guest leaves a request, interrupts the vCPU if it runs the
guest, and waits until it has been outside: before it enters again it looks at its
requests.
"""

from __future__ import annotations

from enum import Enum

import attrs

from memslots.vm import Vm
from rcu.operation import Location, Operation
from rcu.schedule.task import Task
from vcpus.mmu_lock import Request


class Mode(Enum):
    """Where a vCPU is, as far as others must know.

    KVM: vcpu->mode, include/linux/kvm_host.h
    """

    OUTSIDE_GUEST_MODE = "outside"
    IN_GUEST_MODE = "guest"
    READING_SHADOW_PAGE_TABLES = "reading"


class VcpuRequests:
    """Mode, requests and kicks of a vCPU.

    Args:
        vm: Whose vCPU.
        index: Which, from 0.

    Attributes:
        mode: Where it is.
        requests: What it must do before it enters the guest.
        interrupted: Whether it must leave the guest, whatever it has done.
        must_exit: Whether it has been told to leave the run loop.
        immediate_exit: Where that is read and written.

    KVM: virt/kvm/kvm_main.c
    """

    def __init__(self, vm: Vm, index: int) -> None:
        self.vm = vm
        self.index = index
        self.mode = Mode.OUTSIDE_GUEST_MODE
        self.requests = Request(0)
        self.interrupted = False
        self.must_exit = False
        self._scheduler = vm.scheduler
        self._task: Task | None = None
        self._entries = 0
        self._kicks = 0
        name = f"vcpu{index}"
        self.immediate_exit = Location(f"immediate_exit of {name}")
        self._requests = Location(f"requests of {name}")
        self._mode = Location(f"mode of {name}")
        self._kick = Location(f"kicks of {name}")
        self._interrupt = Operation(
            "interrupt", reads=(self._mode,), writes=(self._requests,)
        )
        self._exit = Operation(
            "wait for exit of", reads=(self._mode,), needs=self._whoever_runs
        )

    # What it does itself.

    async def set_mode(self, mode: Mode) -> None:
        """Tell others where it is."""
        await self._scheduler.point(self._mode.write)
        self.mode = mode
        self._entries += mode is not Mode.OUTSIDE_GUEST_MODE
        self.interrupted &= mode is not Mode.OUTSIDE_GUEST_MODE

    async def begin_reading_page_tables(self) -> None:
        """Keep zapped page tables from being freed; others wait until the end.

        KVM: walk_shadow_page_lockless_begin, arch/x86/kvm/mmu/mmu.c
        """
        await self.set_mode(Mode.READING_SHADOW_PAGE_TABLES)

    async def end_reading_page_tables(self) -> None:
        """Nothing read from page tables is used any more.

        KVM: walk_shadow_page_lockless_end, arch/x86/kvm/mmu/mmu.c
        """
        await self.set_mode(Mode.OUTSIDE_GUEST_MODE)

    # What others do to it.

    async def make_request(self, request: Request) -> None:
        """Have it do ``request`` before it enters the guest again.

        KVM: kvm_make_request, include/linux/kvm_host.h
        """
        await self._scheduler.point(self._requests.write)
        self.requests |= request

    async def wait_for_exit(self) -> None:
        """Interrupt it if it runs the guest, and wait until it has been outside.

        It may have done what was asked just before it entered: then nothing else would
        make it leave.

        KVM: kvm_request_needs_ipi, kvm_kick_many_cpus, virt/kvm/kvm_main.c
        """
        await self._scheduler.point(self._interrupt)
        if self.mode is not Mode.OUTSIDE_GUEST_MODE:
            self.interrupted = True
            await self._scheduler.point(self._exit, Left(self, self._entries).is_over)

    async def kick(self) -> None:
        """Wake it if it sleeps.

        KVM: kvm_vcpu_kick, virt/kvm/kvm_main.c
        """
        await self._scheduler.point(self._kick.write)
        self._kicks += 1

    async def kick_out(self) -> None:
        """Tell it to leave the run loop.

        KVM: immediate_exit of struct kvm_run, include/uapi/linux/kvm.h
        """
        await self._scheduler.point(self.immediate_exit.write)
        self.must_exit = True

    def has_left_since(self, entry: int) -> bool:
        """Whether it is, or has been, out of the guest since its entry ``entry``."""
        return self.mode is Mode.OUTSIDE_GUEST_MODE or self._entries != entry

    def was_woken_since(self, kicks: int) -> bool:
        """Whether it has been kicked more often, or told to leave."""
        return self.must_exit or self._kicks != kicks

    def _whoever_runs(self) -> tuple[Task, ...]:
        return () if self._task is None else (self._task,)


@attrs.frozen
class Left:
    """Condition: a vCPU has been out of the guest since one of its entries."""

    vcpu: VcpuRequests
    entry: int

    def is_over(self) -> bool:
        """Whether it has."""
        return self.vcpu.has_left_since(self.entry)


@attrs.frozen
class Asleep:
    """Condition: a halted vCPU has been woken."""

    vcpu: VcpuRequests
    kicks: int

    def is_over(self) -> bool:
        """Whether it has."""
        return self.vcpu.was_woken_since(self.kicks)
