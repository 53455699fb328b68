"""A VM as far as its memory slots go: locks, SRCU domain, two sets per address space.

What changes the sets lives in `memslots.update`; here is only what it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from memslots.allocator import Allocation, Allocator
from memslots.arch import ArchHooks, PlainArch
from memslots.dirty_log import DirtyLog
from memslots.generation import advanced
from memslots.guest_memfd import GuestMemfd
from memslots.invalidations import Invalidations
from memslots.io_bus import IoBuses
from memslots.profile import X86_64_LINUX_6_18, Profile
from memslots.region import Region
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.slot_set import Memslots
from memslots.tracepoints import AddressSpaceMade, SlotData, SlotFreed, SlotInstalled
from memslots.units import Gfn
from rcu.locks import Mutex
from rcu.operation import Location
from rcu.published import Published
from rcu.reclaim import reclaim
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.domain import SrcuDomain


class Vm:
    """A VM without slots.

    Args:
        scheduler: Whose tasks are its vCPUs and writers.
        profile: Limits of the kernel.
        address_space_count: 1, or 2 where vCPUs have a system management mode.
        srcu: Makes the domain ``kvm->srcu``.
        arch: Makes the architecture's part.
        dirty_log: Makes what logs the guest's writes.
        buses: Makes its I/O bus.

    Attributes:
        slots_lock: Serialises writers; never taken inside a read section.
        slots_arch_lock: Protects the arch data of slots; may be taken inside one.
        srcu: Protects the sets that readers dereference.
        sets: Both sets of each address space; never allocated or freed.
        invalidations: MMU-notifier sections that hold up a swap.
        nr_memslot_pages: Pages of all slots. Protected by ``slots_lock``.
        slot_memory: Location that reading a slot's data reads and freeing one writes.
        arch_data: Location of the arch data of all slots, protected by
            ``slots_arch_lock``.
        guest_memfds: Files by descriptor.
        users_count: Who may still use the VM; the last one destroys it.
        dead: Whether the VM is being destroyed: every ioctl fails.
        dirty_log: What logs the guest's writes, and its ioctls.
        buses: Devices that answer where no slot is.
        allocator: Hands out what slots own.

    KVM: struct kvm, include/linux/kvm_host.h
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        profile: Profile = X86_64_LINUX_6_18,
        address_space_count: int = 1,
        srcu: Callable[[Scheduler, str], SrcuDomain] = SrcuDomain,
        arch: Callable[[Vm], ArchHooks] | None = None,
        dirty_log: Callable[[Vm], DirtyLog] = DirtyLog,
        buses: Callable[[Scheduler, SrcuDomain, Mutex], IoBuses] = IoBuses,
    ) -> None:
        self.scheduler = scheduler
        self.profile = profile
        self.address_space_count = address_space_count
        self.slots_lock = Mutex(scheduler, "slots_lock")
        self.slots_arch_lock = Mutex(scheduler, "slots_arch_lock")
        self.srcu = srcu(scheduler, "kvm->srcu")
        self.users_count = 1
        self.users_location = Location("users_count")
        self.allocator = Allocator(scheduler)
        self.slot_memory = Location("slot memory")
        self.arch_data = Location("arch data of slots")
        self.sets = self.make_sets()
        self._memslots = tuple(
            Published(
                scheduler,
                f"memslots[{as_id}]",
                pair[0],
                domain=self.srcu,
                locks=(self.slots_lock,),
                exempt=self.is_unused,
            )
            for as_id, pair in enumerate(self.sets)
        )
        self.invalidations = Invalidations(scheduler)
        self.nr_memslot_pages = 0
        self.guest_memfds: dict[int, GuestMemfd] = {}
        self.dead = False
        self.arch: ArchHooks = arch(self) if arch else PlainArch()
        self.dirty_log = dirty_log(self)
        self.buses = buses(scheduler, self.srcu, self.slots_lock)
        self._serials = 0
        self._calls = 0
        if scheduler.tracing:
            for pair in self.sets:
                made = pair[0]
                scheduler.emit(
                    AddressSpaceMade(
                        made.as_id, made.generation, address_space_count, len(pair)
                    )
                )

    def make_sets(self) -> Sequence[Sequence[Memslots]]:
        """The sets of each address space; the first of each is active."""
        return tuple(
            (Memslots(as_id, 0, self.slot_memory), Memslots(as_id, 1, self.slot_memory))
            for as_id in range(self.address_space_count)
        )

    def active(self, as_id: int) -> Published[Memslots]:
        """The pointer to the set of an address space that readers find.

        KVM: __kvm_memslots, include/linux/kvm_host.h
        """
        return self._memslots[as_id]

    def inactive_memslots(self, as_id: int) -> Memslots:
        """The set that readers do not find; the one to edit.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: kvm_get_inactive_memslots, virt/kvm/kvm_main.c
        """
        return self.sets[as_id][1 - self.active(as_id).peek().node_idx]

    def is_unused(self) -> bool:
        """Whether nobody is left who could look up or change slots."""
        return not self.users_count

    def next_serial(self) -> int:
        """A number for a new slot object."""
        self._serials += 1
        return self._serials

    def next_call(self) -> int:
        """A number for a new call of an ioctl."""
        self._calls += 1
        return self._calls

    def allocate_slot(self, region: Region) -> MemorySlot:
        """A new slot object for ``region``, in no set.

        Raises:
            MemoryRegionError: ENOMEM.
        """
        self.allocator.check(Allocation.SLOT)
        as_id, slot_id = region.slot_id
        serial = self.next_serial()
        self.allocator.tell_allocated(Allocation.SLOT, serial)
        return MemorySlot(
            serial=serial,
            as_id=as_id,
            id=slot_id,
            base_gfn=region.base_gfn,
            npages=region.npages,
            userspace_addr=region.userspace_addr,
            flags=region.flags,
        )

    async def free_slot(self, slot: MemorySlot) -> None:
        """Free the slot object alone; what it points to lives on."""
        await self.scheduler.point(self.slot_memory.write)
        as_id, slot_id, serial = slot.as_id, slot.id, slot.serial
        name = f"slot {slot_id} #{serial} of address space {as_id}"
        reclaim(self.scheduler, slot, name)
        if self.scheduler.tracing:
            self.scheduler.emit(SlotFreed(as_id, serial))

    def install(self, regions: Iterable[Region]) -> None:
        """Put slots into both sets before anybody runs.

        The VM is then as if each had been created by a call: generation and page count
        have advanced. Regions are not checked.

        Raises:
            StructureBroken: Two regions have the same id or first gfn, or one is
                empty; `check` finds those that meet otherwise.
        """
        pages = self.nr_memslot_pages
        for region in regions:
            slot = self.allocate_slot(region)
            if slot.flags & LOG_DIRTY_PAGES and not self.dirty_log.ring_bytes:
                slot.dirty_bitmap = self.allocator.allocate(
                    Allocation.DIRTY_BITMAP,
                    self.dirty_log.new_bitmap(slot.npages),
                    slot,
                )
            self.arch.allocate(slot)
            self.tell_held(slot)
            self.install_slot(slot)
            self.nr_memslot_pages += slot.npages
            if self.scheduler.tracing:
                self.scheduler.emit(SlotInstalled(slot.as_id, SlotData.of(slot)))
        if self.nr_memslot_pages != pages:
            self.arch.memslots_installed()

    def install_slot(self, slot: MemorySlot) -> None:
        """Put one slot into both sets, as if an update had."""
        active, inactive = self.sets[slot.as_id]
        active.replace(None, slot)
        inactive.replace(None, slot)
        inactive.generation = active.generation  # one update older, as always
        active.generation = advanced(active.generation, self.address_space_count)

    def tell_held(self, slot: MemorySlot) -> None:
        """Tell the trace what ``slot``, whose pointers have been set, points to."""
        if self.scheduler.tracing:
            ring = bool(self.dirty_log.ring_bytes)
            self.allocator.tell_held(slot, self.arch.arrays_of(slot), ring=ring)

    def last_gfn_end(self, as_id: int) -> Gfn:
        """First gfn behind the highest slot of the active set, 0 without slots.

        KVM: kvm_s390_get_gfn_end, arch/s390/kvm/kvm-s390.h
        """
        return self.active(as_id).peek().last_gfn_end()

    def check(self) -> None:
        """Walk both sets of each address space.

        Raises:
            StructureBroken: A set is broken.

        Complexity: O(n)
        """
        for pair in self.sets:
            for slots in pair:
                slots.check()
