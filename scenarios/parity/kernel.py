"""The running kernel: what it can do is asked, never assumed, and a VM of it answers.

A VM gets slots and no vCPU, so nothing ever touches the memory that its slots name.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import platform
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from ctypes import addressof, c_char
from types import TracebackType

from memslots.profile import X86_64_LINUX_6_18, Profile
from memslots.region import Region
from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gpa, Hva
from scenarios.parity import kvm_abi
from scenarios.parity.calls import (
    DONE,
    GUEST_MEMFDS,
    MAX_LOGGED_PAGES,
    Answer,
    Call,
    ClearDirtyLog,
    EnableCap,
    Features,
    GetDirtyLog,
    ResetRings,
    SetRegion,
)
from scenarios.parity.kvm_abi import Extension, Request

DEVICE = "/dev/kvm"

UNMAPPED = 8
"""An address that no process can read or write."""

_BUFFER_BYTES = 2 * MAX_LOGGED_PAGES // 8
_UNTOUCHED = b"\xee" * _BUFFER_BYTES

_INTERNAL_SLOTS = X86_64_LINUX_6_18.mem_slots_num - X86_64_LINUX_6_18.user_mem_slots


class NoKernelError(Exception):
    """There is no kernel that could be asked; the text says why and the way out."""


class OutOfMemoryError(Exception):
    """The kernel has no memory for more slots; that says nothing about its rules."""


class Kernel:
    """``/dev/kvm``, and what it says of itself.

    Attributes:
        features: What it can do.

    Raises:
        NoKernelError: There is none that could be asked.
    """

    def __init__(self) -> None:
        self._device = _open_device()
        with self._create_vm() as vm:
            self.features = Features(
                profile=self._profile(vm),
                address_space_count=max(vm.check(Extension.MULTI_ADDRESS_SPACE), 1),
                region2=vm.check(Extension.USER_MEMORY2) > 0,
            )

    def _profile(self, vm: KernelVm) -> Profile:
        user_mem_slots = vm.check(Extension.NR_MEMSLOTS)
        return Profile(
            name=f"{platform.machine()}, Linux {platform.release()}",
            user_mem_slots=user_mem_slots,
            mem_slots_num=user_mem_slots + _INTERNAL_SLOTS,
            mem_max_nr_pages=X86_64_LINUX_6_18.mem_max_nr_pages,
            user_address_end=_pages_accepted(vm, _at_hva) * PAGE_SIZE,
            max_gfn=_pages_accepted(vm, _at_gpa) - 1,
            readonly_mem=vm.check(Extension.READONLY_MEM) > 0,
            guest_memfd=vm.check(Extension.GUEST_MEMFD) > 0,
            manual_dirty_log_protect=vm.check(Extension.MANUAL_DIRTY_LOG_PROTECT2),
            dirty_ring=vm.check(Extension.DIRTY_LOG_RING) > 0,
            dirty_ring_acq_rel=vm.check(Extension.DIRTY_LOG_RING_ACQ_REL) > 0,
            dirty_ring_reserved_entries=self._reserved_entries(vm),
        )

    def _reserved_entries(self, vm: KernelVm) -> int:
        """Entries below which no ring is accepted: all that can be seen of them."""
        if not vm.check(Extension.DIRTY_LOG_RING):
            return 0
        size_bytes = PAGE_SIZE
        while True:
            with self._create_vm() as fresh:
                cap = EnableCap(Extension.DIRTY_LOG_RING, size_bytes)
                if fresh.answer(cap).result == 0:
                    break
            size_bytes *= 2
        # Rings are powers of two: one byte above the half is as good as any.
        return 0 if size_bytes == PAGE_SIZE else size_bytes // 32 + 1

    def create_vm(self) -> KernelVm:
        """A VM without slots and vCPUs, with the files of `GUEST_MEMFDS` if it can.

        Raises:
            NoKernelError: It cannot be made.
        """
        vm = self._create_vm()
        if self.features.profile.guest_memfd:
            vm.create_guest_memfds()
        return vm

    def _create_vm(self) -> KernelVm:
        try:
            return KernelVm(fcntl.ioctl(self._device, Request.CREATE_VM, 0))
        except OSError as error:
            raise NoKernelError(
                f"the kernel refuses to create a VM: {error.strerror}; another program"
                " may use the processor's virtualization"
            ) from error

    def close(self) -> None:
        """Give the device back."""
        os.close(self._device)


class KernelVm(AbstractContextManager["KernelVm"]):
    """One VM of the running kernel.

    Args:
        descriptor: What ``KVM_CREATE_VM`` returned; closed with the VM.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._buffer = mmap.mmap(-1, _BUFFER_BYTES)
        self._view = c_char.from_buffer(self._buffer)
        self._address = addressof(self._view)
        self._guest_memfds: dict[int, int] = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Destroy the VM: its slots go with it."""
        for descriptor in self._guest_memfds.values():
            os.close(descriptor)
        os.close(self.descriptor)
        del self._view
        self._buffer.close()

    def check(self, extension: int) -> int:
        """What the kernel says about an extension; 0 if it does not know it.

        KVM: kvm_vm_ioctl_check_extension_generic, virt/kvm/kvm_main.c
        """
        return fcntl.ioctl(self.descriptor, Request.CHECK_EXTENSION, extension)

    def create_guest_memfds(self) -> None:
        """Make the files of `GUEST_MEMFDS`."""
        for descriptor, pages in GUEST_MEMFDS.items():
            # A buffer that can be written makes ioctl return what the kernel does.
            argument = bytearray(kvm_abi.create_guest_memfd(pages * PAGE_SIZE))
            self._guest_memfds[descriptor] = fcntl.ioctl(
                self.descriptor, Request.CREATE_GUEST_MEMFD, argument
            )

    def answer(self, call: Call) -> Answer:
        """Make a call.

        Raises:
            OutOfMemoryError: The kernel has no memory for it.
        """
        try:
            match call:
                case SetRegion(region):
                    self._set_region(region)
                case GetDirtyLog():
                    return self._get_dirty_log(call)
                case ClearDirtyLog():
                    self._clear_dirty_log(call)
                case EnableCap():
                    self._enable_cap(call)
                case ResetRings():
                    return Answer(self._ioctl(Request.RESET_DIRTY_RINGS, 0))
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise OutOfMemoryError(str(call)) from error
            return Answer(-(error.errno or 0))
        return DONE

    def _set_region(self, region: Region | None) -> None:
        if region is None:
            self._ioctl(Request.SET_USER_MEMORY_REGION, UNMAPPED)
        elif region.v2:
            file = region.guest_memfd
            descriptor = self._guest_memfds.get(file, -1)
            argument = kvm_abi.user_memory_region2(region, descriptor)
            self._ioctl(Request.SET_USER_MEMORY_REGION2, argument)
        else:
            argument = kvm_abi.user_memory_region(region)
            self._ioctl(Request.SET_USER_MEMORY_REGION, argument)

    def _get_dirty_log(self, call: GetDirtyLog) -> Answer:
        if call.slot is None:
            self._ioctl(Request.GET_DIRTY_LOG, UNMAPPED)
            return DONE
        self._buffer[:] = _UNTOUCHED
        place = self._address if call.copy_out else UNMAPPED
        self._ioctl(Request.GET_DIRTY_LOG, kvm_abi.dirty_log(call.slot, place))
        return Answer(0, self._buffer[:].rstrip(_UNTOUCHED[:1]))

    def _clear_dirty_log(self, call: ClearDirtyLog) -> None:
        if call.slot is None:
            self._ioctl(Request.CLEAR_DIRTY_LOG, UNMAPPED)
            return
        place = UNMAPPED
        if call.mask is not None:
            mask = struct.pack(f"={len(call.mask)}Q", *call.mask)
            self._buffer[:] = mask.ljust(_BUFFER_BYTES, b"\0")
            place = self._address
        argument = kvm_abi.clear_dirty_log(
            call.slot, call.first_page, call.num_pages, place
        )
        self._ioctl(Request.CLEAR_DIRTY_LOG, argument)

    def _enable_cap(self, call: EnableCap) -> None:
        if call.capability is None:
            self._ioctl(Request.ENABLE_CAP, UNMAPPED)
            return
        argument = kvm_abi.enable_cap(call.capability, call.flags, call.value)
        self._ioctl(Request.ENABLE_CAP, argument)

    def _ioctl(self, request: Request, argument: bytes | int) -> int:
        result = fcntl.ioctl(self.descriptor, request, argument)
        return result if isinstance(result, int) else 0


def _open_device() -> int:
    if platform.machine() != "x86_64":
        raise NoKernelError(
            f"the model knows KVM on x86-64 only, and this is {platform.machine()}"
        )
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NoKernelError(
            f"there is no {DEVICE}: load the module kvm_intel or kvm_amd; inside a VM,"
            " nested virtualization must be switched on"
        ) from error
    except PermissionError as error:
        raise NoKernelError(
            f"not allowed to open {DEVICE}: become a member of its group, often with"
            " 'sudo usermod -aG kvm $USER' and a new login"
        ) from error
    except OSError as error:
        raise NoKernelError(f"cannot open {DEVICE}: {error.strerror}") from error
    version = fcntl.ioctl(device, Request.GET_API_VERSION, 0)
    if version != kvm_abi.API_VERSION:
        raise NoKernelError(f"{DEVICE} has version {version} of its interface, not 12")
    return device


def _at_gpa(page: int) -> Region:
    return Region(0, 0, Gpa(page << PAGE_SHIFT), PAGE_SIZE, Hva(0))


def _at_hva(page: int) -> Region:
    return Region(0, 0, Gpa(0), PAGE_SIZE, Hva(page << PAGE_SHIFT))


_NOTHING = SetRegion(Region(0, 0, Gpa(0), 0, Hva(0)))


def _pages_accepted(vm: KernelVm, region_at: Callable[[int], Region]) -> int:
    """How many pages from 0 on a slot may have at one place; found by halving."""
    accepted, refused = 0, 1 << 52
    while refused - accepted > 1:
        middle = (accepted + refused) // 2
        if vm.answer(SetRegion(region_at(middle))).result:
            refused = middle
        else:
            accepted = middle
            vm.answer(_NOTHING)
    return refused
