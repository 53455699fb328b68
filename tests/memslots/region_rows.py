"""Requests for every row of the table of checks, both sides of every bound.

The numbers are those of docs/reference/errors.md.
"""

from __future__ import annotations

import errno
from typing import Any

import attrs

from memslots.arch import PlainArch
from memslots.errors import MemoryRegionError
from memslots.guest_memfd import GuestMemfd
from memslots.profile import X86_64_LINUX_6_18, Profile
from memslots.region import Change, Region
from memslots.slot import LOG_DIRTY_PAGES, READONLY, MemorySlot
from memslots.units import PAGE_SIZE, Hva
from memslots.vm import Vm
from rcu.schedule.scheduler import Scheduler
from tests.memslots.world import HVA, backed, deletion, region, the_slot

EINVAL, EEXIST, EBADF = errno.EINVAL, errno.EEXIST, errno.EBADF
CREATE, DELETE, MOVE, FLAGS = (
    Change.CREATE,
    Change.DELETE,
    Change.MOVE,
    Change.FLAGS_ONLY,
)
USER_END = 0x7FFF_FFFF_F000
TOP = 1 << 64
MAX_PAGES = (1 << 31) - 1
FAR = 1 << 33
"""A gfn behind everything that the tests have, with room for the largest slot."""

FILE, ENDLESS_FILE = 7, 9
"""Descriptors of two guest_memfds: one of 64 pages, four of them bound; one of 2^64."""


class X86Arch(PlainArch):
    """The bound on guest pages that the architecture checks, and nothing else."""

    def __init__(self, vm: Vm) -> None:
        self.max_gfn = vm.profile.max_gfn

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        if new is not None and change in {CREATE, MOVE}:
            last = new.end_gfn - 1
            if last > self.max_gfn:
                raise MemoryRegionError(EINVAL, f"gfn {last:#x} is too high")
        await super().prepare_memory_region(old, new, change)


@attrs.frozen
class Row:
    """One request to a VM that has slots 1 to 4, and the answer to it.

    Attributes:
        number: Row of the table.
        title: What is asked.
        request: The request; None cannot be read.
        outcome: A change, None for no change, or an errno.
        spaces: Address spaces of the VM.
        profile: Limits of the kernel.
        arch: Whether the architecture bounds the gfn.
        extra_pages: By how much the page count is wrong.
        dead: Whether the VM is being destroyed.
        reverted: Whether readers have seen the INVALID slot before it is refused.
    """

    number: str
    title: str
    request: Region | None
    outcome: Change | int | None
    spaces: int = 1
    profile: Profile = X86_64_LINUX_6_18
    arch: bool = False
    extra_pages: int = 0
    dead: bool = False
    reverted: bool = False


def at(slot: int = 5, **fields: Any) -> Region:
    """A request for a page that is free, changed field by field."""
    return attrs.evolve(region(slot, gfn=0x100, npages=1), **fields)


def v2(request: Region) -> Region:
    return attrs.evolve(request, v2=True)


def profile(**fields: Any) -> Profile:
    return attrs.evolve(X86_64_LINUX_6_18, **fields)


NO_READONLY = profile(readonly_mem=False)
NO_GUEST_MEMFD = profile(guest_memfd=False)
MANY_USER_SLOTS = profile(user_mem_slots=40_000)

ROWS = [
    Row("0", "dead VM", region(), errno.EIO, dead=True),
    Row("0", "dead VM before unreadable", None, errno.EIO, dead=True),
    Row("1", "unreadable", None, errno.EFAULT),
    Row("2", "v1 with both flags", at(flags=3), CREATE),
    Row(
        "2",
        "v1 with bit 2",
        attrs.evolve(backed(at(), FILE, 0x8000), v2=False),
        EINVAL,
    ),
    Row("2", "v1 with bit 3", at(flags=8), EINVAL),
    Row("2", "v1 with bit 16", at(flags=0x10000), EINVAL),
    Row("2", "v1 with bit 31", at(flags=1 << 31), EINVAL),
    Row("3", "id 0", at(0), CREATE),
    Row("3", "last user id", at(32763), CREATE),
    Row("3", "first internal id", at(32764), EINVAL),
    Row("3", "last internal id", at(32766), EINVAL),
    Row("3", "behind all ids", at(32767), EINVAL),
    Row("3", "highest id", at(0xFFFF), EINVAL),
    Row("3", "last user id of space 1", at(0x1_7FFB), CREATE, spaces=2),
    Row("3", "internal id of space 1", at(0x1_7FFC), EINVAL, spaces=2),
    Row("5", "v2 without flags", v2(at()), CREATE),
    Row("5", "v2 with log and read-only", v2(at(flags=3)), CREATE),
    Row("5", "v2 with bit 3", v2(at(flags=8)), EINVAL),
    Row("5", "v2 with bit 16", v2(at(flags=0x10000)), EINVAL),
    Row("5", "v2 with bit 31", v2(at(flags=1 << 31)), EINVAL),
    Row("5", "gmem", backed(at(), FILE, 0x8000), CREATE),
    Row("5", "gmem and log", backed(at(flags=1), FILE, 0x8000), EINVAL),
    Row("5", "gmem and read-only", backed(at(flags=2), FILE, 0x8000), EINVAL),
    Row(
        "5", "gmem unknown", backed(at(), FILE, 0x8000), EINVAL, profile=NO_GUEST_MEMFD
    ),
    Row("5", "read-only unknown", at(flags=2), EINVAL, profile=NO_READONLY),
    Row("5", "log always known", at(flags=1), CREATE, profile=NO_READONLY),
    Row("5", "delete with unknown flag", v2(at(1, memory_size=0, flags=8)), EINVAL),
    Row("6", "size 1", at(memory_size=1), EINVAL),
    Row("6", "size 4095", at(memory_size=4095), EINVAL),
    Row("6", "size 4096", at(memory_size=4096), CREATE),
    Row("6", "size 4097", at(memory_size=4097), EINVAL),
    Row("7", "gpa 1", at(guest_phys_addr=1), EINVAL),
    Row("7", "gpa 4095", at(guest_phys_addr=4095), EINVAL),
    Row("7", "gpa 0", at(guest_phys_addr=0), CREATE),
    Row("7", "gpa 4097", at(guest_phys_addr=4097), EINVAL),
    Row("7", "delete, gpa 1", at(1, memory_size=0, guest_phys_addr=1), EINVAL),
    Row("8", "hva 1", at(userspace_addr=1), EINVAL),
    Row("8", "hva 4095", at(userspace_addr=4095), EINVAL),
    Row("8", "hva 0", at(userspace_addr=0), CREATE),
    Row("8", "last page", at(userspace_addr=USER_END - PAGE_SIZE), CREATE),
    Row("8", "behind the last page", at(userspace_addr=USER_END), EINVAL),
    Row("8", "kernel address", at(userspace_addr=0xFFFF_8000_0000_0000), EINVAL),
    Row("8", "last address", at(userspace_addr=TOP - PAGE_SIZE), EINVAL),
    Row("8", "non-canonical", at(userspace_addr=1 << 48), EINVAL),
    Row("8", "delete, hva 1", at(1, memory_size=0, userspace_addr=1), EINVAL),
    Row("8", "delete, hva end", at(1, memory_size=0, userspace_addr=USER_END), DELETE),
    Row(
        "8",
        "delete, hva behind the end",
        at(1, memory_size=0, userspace_addr=USER_END + PAGE_SIZE),
        EINVAL,
    ),
    Row(
        "8",
        "four pages up to the end",
        at(memory_size=0x4000, userspace_addr=USER_END - 0x4000),
        CREATE,
    ),
    Row(
        "8",
        "four pages, one behind the end",
        at(memory_size=0x4000, userspace_addr=USER_END - 0x3000),
        EINVAL,
    ),
    Row("9", "offset 1", backed(at(), ENDLESS_FILE, 1), EINVAL),
    Row("9", "offset 4095", backed(at(), ENDLESS_FILE, 4095), EINVAL),
    Row("9", "offset 4096", backed(at(), ENDLESS_FILE, 4096), CREATE),
    Row("9", "up to the last page", backed(at(), ENDLESS_FILE, TOP - 0x2000), CREATE),
    Row("9", "wraps to 0", backed(at(), ENDLESS_FILE, TOP - 0x1000), EINVAL),
    Row(
        "9",
        "wraps to more",
        backed(at(memory_size=0x2000), ENDLESS_FILE, TOP - 0x1000),
        EINVAL,
    ),
    Row(
        "9",
        "ignored without the flag",
        v2(at(guest_memfd=-1, guest_memfd_offset=1)),
        CREATE,
    ),
    Row(
        "9",
        "delete, offset 1",
        backed(at(1, memory_size=0), ENDLESS_FILE, 1),
        EINVAL,
    ),
    Row("10", "space 1 of 1", at(0x1_0005), EINVAL),
    Row("10", "space 1 of 2", at(0x1_0005), CREATE, spaces=2),
    Row("10", "space 2 of 2", at(0x2_0005), EINVAL, spaces=2),
    Row("10", "space 65535", at(0xFFFF_0005), EINVAL, spaces=2),
    Row("10", "last id of all", at(32766), CREATE, profile=MANY_USER_SLOTS),
    Row("10", "behind all ids", at(32767), EINVAL, profile=MANY_USER_SLOTS),
    Row("11", "last page but one", at(guest_phys_addr=TOP - 0x2000), CREATE),
    Row("11", "ends at 2^64", at(guest_phys_addr=TOP - 0x1000), EINVAL),
    Row(
        "11",
        "ends behind 2^64",
        at(guest_phys_addr=TOP - 0x1000, memory_size=0x2000),
        EINVAL,
    ),
    Row(
        "11",
        "delete, gpa 2^64 - 4096",
        at(1, guest_phys_addr=TOP - 0x1000, memory_size=0),
        DELETE,
    ),
    Row("12", "2^31 - 1 pages", region(5, FAR, MAX_PAGES, hva=Hva(0)), CREATE),
    Row("12", "2^31 pages", region(5, FAR, MAX_PAGES + 1, hva=Hva(0)), EINVAL),
    Row("13", "delete what is not there", deletion(5), EINVAL),
    Row("13", "delete slot 1 of space 1", deletion(0x1_0001), EINVAL, spaces=2),
    Row("13b", "fewer pages counted", deletion(1), errno.EIO, extra_pages=-13),
    Row("13b", "just enough pages counted", deletion(1), DELETE, extra_pages=-12),
    Row("13c", "delete", deletion(1), DELETE),
    Row("13c", "delete a read-only slot", deletion(2), DELETE),
    Row("13c", "delete a logged slot", deletion(3), DELETE),
    Row("13c", "delete a gmem slot", deletion(4), DELETE),
    Row("13c", "delete with other gpa and hva", at(1, memory_size=0), DELETE),
    Row("13c", "delete with read-only", at(1, memory_size=0, flags=2), DELETE),
    Row("13c", "delete with log", at(1, memory_size=0, flags=1), DELETE),
    Row(
        "13c",
        "delete with gmem, other offset",
        backed(at(4, memory_size=0), -1, 0x3000),
        DELETE,
    ),
    Row("14", "2^64 - 1 pages", at(), CREATE, extra_pages=TOP - 16 - 2),
    Row("14", "2^64 pages", at(), EINVAL, extra_pages=TOP - 16 - 1),
    Row("15", "gmem on a plain slot", backed(region(), FILE, 0x8000), EINVAL),
    Row("15", "gmem slot as it is", backed(region(4, 0x40), FILE), EINVAL),
    Row("15", "gmem slot moved", backed(region(4, 0x100), FILE), EINVAL),
    Row("16", "gmem switched off", region(4, 0x40), EINVAL),
    Row("16", "gmem switched off and moved", region(4, 0x100), EINVAL),
    Row("16", "other hva", region(hva=Hva(HVA + PAGE_SIZE)), EINVAL),
    Row("16", "other hva, moved", region(gfn=0x100, hva=Hva(0)), EINVAL),
    Row("16", "grown", region(npages=5), EINVAL),
    Row("16", "shrunk", region(npages=3), EINVAL),
    Row("16", "grown and moved", region(gfn=0x100, npages=5), EINVAL),
    Row("16", "read-only on", region(flags=READONLY), EINVAL),
    Row("16", "read-only off", region(2, 0x20), EINVAL),
    Row("16", "read-only on, log on", region(flags=3), EINVAL),
    Row("16", "read-only on, moved", region(gfn=0x100, flags=READONLY), EINVAL),
    Row("16", "before overlap", region(gfn=0x20, flags=READONLY), EINVAL),
    Row("17", "as it is", region(), None),
    Row("17", "as it is, read-only", region(2, 0x20, flags=READONLY), None),
    Row("17", "as it is, logged", region(3, 0x30, flags=LOG_DIRTY_PAGES), None),
    Row("17", "as it is, v2", v2(region()), None),
    Row("-", "log on", region(flags=LOG_DIRTY_PAGES), FLAGS),
    Row("-", "log off", region(3, 0x30), FLAGS),
    Row("-", "log on, read-only", region(2, 0x20, flags=3), FLAGS),
    Row("-", "moved", region(gfn=0x100), MOVE),
    Row("-", "moved, log on", region(gfn=0x100, flags=LOG_DIRTY_PAGES), MOVE),
    Row("-", "moved, log off", region(3, 0x100), MOVE),
    Row("-", "moved, read-only", region(2, 0x100, flags=READONLY), MOVE),
    Row("18", "create on the same pages", region(5, 0x10), EEXIST),
    Row("18", "create on the first page", region(5, 0xD), EEXIST),
    Row("18", "create below", region(5, 0xC), CREATE),
    Row("18", "create on the last page", region(5, 0x13), EEXIST),
    Row("18", "create above", region(5, 0x14), CREATE),
    Row("18", "create inside", region(5, 0x11, 1), EEXIST),
    Row("18", "create around", region(5, 0x8, 64), EEXIST),
    Row("18", "create on two", region(5, 0x13, 16), EEXIST),
    Row("18", "create between two", region(5, 0x14, 12), CREATE),
    Row("18", "same pages of space 1", region(0x1_0005), CREATE, spaces=2),
    Row("18", "same id in space 1", region(0x1_0001), CREATE, spaces=2),
    Row("18", "hva overlaps", region(5, 0x100, hva=Hva(HVA + 0x1000)), CREATE),
    Row("18", "moved onto another", region(gfn=0x20), EEXIST),
    Row("18", "moved onto its first page", region(gfn=0x1D), EEXIST),
    Row("18", "moved below it", region(gfn=0x1C), MOVE),
    Row("18", "moved up by one page", region(gfn=0x11), MOVE),
    Row("18", "moved down by one page", region(gfn=0xF), MOVE),
    Row("18", "before the bad descriptor", backed(region(5), -1), EEXIST),
    Row(
        "18",
        "before the highest gfn",
        region(5, 0x20),
        EEXIST,
        profile=profile(max_gfn=0),
        arch=True,
    ),
    Row(
        "18",
        "moved, before the highest gfn",
        region(gfn=0x20),
        EEXIST,
        profile=profile(max_gfn=0),
        arch=True,
    ),
    Row("20", "no descriptor", backed(at(), -1), EBADF),
    Row("20", "another descriptor", backed(at(), 8), EBADF),
    Row("20", "last page of the file", backed(at(), FILE, 0x3F000), CREATE),
    Row("20", "behind the end", backed(at(), FILE, 0x40000), EINVAL),
    Row(
        "20",
        "one page behind the end",
        backed(at(memory_size=0x2000), FILE, 0x3F000),
        EINVAL,
    ),
    Row("20", "bound already", backed(at(), FILE, 0x3000), EINVAL),
    Row("20", "behind what is bound", backed(at(), FILE, 0x4000), CREATE),
    Row("20", "before the highest gfn", backed(region(5, FAR << 9), -1), EBADF),
    Row("23", "last gfn", region(5, 0xFF_FFFF_FFFF, 1), CREATE, arch=True),
    Row("23", "behind the last gfn", region(5, 0x100_0000_0000, 1), EINVAL, arch=True),
    Row("23", "up to the last gfn", region(5, 0xFF_FFFF_FFFC), CREATE, arch=True),
    Row("23", "one gfn too many", region(5, 0xFF_FFFF_FFFD), EINVAL, arch=True),
    Row("23", "moved to the last gfn", region(gfn=0xFF_FFFF_FFFC), MOVE, arch=True),
    Row(
        "23",
        "moved too far",
        region(gfn=0xFF_FFFF_FFFD),
        EINVAL,
        arch=True,
        reverted=True,
    ),
    Row(
        "23",
        "not for flags",
        region(flags=LOG_DIRTY_PAGES),
        FLAGS,
        profile=profile(max_gfn=0),
        arch=True,
    ),
    Row("23", "not for delete", deletion(), DELETE, profile=profile(max_gfn=0)),
]


def vm_for(row: Row, scheduler: Scheduler) -> Vm:
    """The VM of a row: slot 1 is plain, 2 read-only, 3 logged, 4 of guest_memfd."""
    vm = Vm(
        scheduler,
        profile=row.profile,
        address_space_count=row.spaces,
        arch=X86Arch if row.arch else None,
    )
    file = GuestMemfd(64 * PAGE_SIZE)
    vm.guest_memfds = {FILE: file, ENDLESS_FILE: GuestMemfd(TOP)}
    vm.install(
        [
            region(),
            region(2, 0x20, flags=READONLY),
            region(3, 0x30, flags=LOG_DIRTY_PAGES),
            backed(region(4, 0x40), FILE),
        ]
    )
    file.bind(0, 4)
    the_slot(vm, 4).guest_memfd = (file, 0)
    vm.nr_memslot_pages += row.extra_pages
    vm.dead = row.dead
    return vm
