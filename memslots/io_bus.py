"""The I/O bus: the devices that answer where no slot is.

It is protected like the sets of slots: writers hold ``slots_lock``, readers are in a
section of ``kvm->srcu``. But a bus never changes: a new one takes its place, and the
old one is freed when nobody can be using it any more.

`IoBuses` is made of small methods on purpose: a changed protocol is a subclass that
leaves one out or exchanges two.

KVM: struct kvm_io_bus, include/linux/kvm_host.h
"""

from __future__ import annotations

import errno
from functools import partial

from memslots.errors import IoctlError
from rcu.locks import Mutex
from rcu.operation import Location
from rcu.published import Published
from rcu.reclaim import Reclaimable, reclaim
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.counters import Callback
from rcu.srcu.domain import SrcuDomain


class IoDevice(Reclaimable):
    """A device on a bus.

    Attributes:
        name: How findings call it.
        location: What using it reads, and destroying it writes.
    """

    __slots__ = ("location", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.location = Location(name)


class IoBus(Reclaimable):
    """A bus and the devices on it, which are always the same.

    Attributes:
        devices: In the order in which they were registered.
        location: What looking for a device reads, and freeing the bus writes.
    """

    __slots__ = ("devices", "location")

    def __init__(self, devices: tuple[IoDevice, ...], location: Location) -> None:
        self.devices = devices
        self.location = location


class IoBuses:
    """The bus of a VM, and how devices come and go.

    Args:
        scheduler: Whose tasks use it.
        srcu: The domain of its readers.
        slots_lock: What writers hold.

    Attributes:
        srcu: The domain of its readers.
        slots_lock: What its writers hold.
        bus: The bus that readers find; None once it could not be made smaller.
    """

    def __init__(
        self, scheduler: Scheduler, srcu: SrcuDomain, slots_lock: Mutex
    ) -> None:
        self.srcu = srcu
        self.slots_lock = slots_lock
        self._scheduler = scheduler
        self._memory = Location("I/O bus memory")
        self.bus: Published[IoBus | None] = Published(
            scheduler,
            "buses[0]",
            IoBus((), self._memory),
            domain=srcu,
            locks=(slots_lock,),
        )

    def install(self, count: int) -> None:
        """Put devices on the bus before anybody runs."""
        bus = self.bus.peek()
        if bus is not None:
            bus.devices = tuple(IoDevice(f"device {place}") for place in range(count))

    # Readers.

    async def read(self) -> list[str]:
        """Ask the devices of the bus.

        Returns:
            The names of those that answer, which is all.

        Raises:
            IoctlError: ENOMEM; there is no bus any more.

        Locks:
            Holds on entry: a read section of ``kvm->srcu``.

        KVM: kvm_io_bus_read, virt/kvm/kvm_main.c
        """
        bus = await self.bus.dereference()
        if bus is None:
            raise IoctlError(errno.ENOMEM, "the bus is gone")
        await self._scheduler.point(bus.location.read)
        names = []
        for device in bus.devices:
            await self._scheduler.point(device.location.read)
            names.append(device.name)
        return names

    # Writers; all hold slots_lock on entry.

    async def register(self, name: str, free: str, *, expedited: bool = False) -> None:
        """Put a device on the bus; the old bus is freed behind a grace period.

        Args:
            name: What the device is called.
            free: What the callback is called that frees the old bus.
            expedited: Whether that is in a hurry.

        Raises:
            IoctlError: ENOMEM; there is no bus any more.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: kvm_io_bus_register_dev, virt/kvm/kvm_main.c
        """
        old = self.bus.peek()
        if old is None:
            raise IoctlError(errno.ENOMEM, "the bus is gone")
        await self.bus.assign(IoBus((*old.devices, IoDevice(name)), self._memory))
        reclaimed = partial(reclaim, self._scheduler, old, "an I/O bus")
        callback = Callback(free, reclaimed, (self._memory,))
        await self.srcu.call(callback, expedited=expedited)

    async def unregister_all(self, *, shrinks: bool = True) -> None:
        """Take the devices off the bus, one after the other.

        Args:
            shrinks: Whether a smaller bus can be allocated.

        Locks:
            Holds on entry: ``slots_lock``.
            Waits for: SRCU grace periods.

        KVM: kvm_vm_ioctl_unregister_coalesced_mmio, virt/kvm/coalesced_mmio.c
        """
        bus = self.bus.peek()
        devices = () if bus is None else bus.devices
        for device in devices:
            await self.unregister(device, shrinks=shrinks)
            if self.is_destroyed():
                break

    def is_destroyed(self) -> bool:
        """Whether the bus is gone, and with it whatever was on it."""
        return self.bus.peek() is None

    async def unregister(self, device: IoDevice, *, shrinks: bool) -> None:
        """Take a device off the bus and destroy it.

        If no smaller bus can be allocated there is none from now on, and every device
        is destroyed.

        Locks:
            Holds on entry: ``slots_lock``.
            Waits for: one SRCU grace period.

        KVM: kvm_io_bus_unregister_dev, virt/kvm/kvm_main.c
        """
        await self._scheduler.point(device.location.read)
        name = device.name
        old = self.bus.peek()
        if old is None:
            return
        left = tuple(each for each in old.devices if each.name != name)
        await self.bus.assign(IoBus(left, self._memory) if shrinks else None)
        await self.finish(old, () if shrinks else left)
        await self.destroy(device)

    async def finish(self, old: IoBus, others: tuple[IoDevice, ...]) -> None:
        """Wait until nobody uses the old bus, and free it.

        Args:
            old: That which readers do not find any more.
            others: The devices that go with it.
        """
        await self.srcu.synchronize_expedited()
        for device in others:
            await self.destroy(device)
        await self._scheduler.point(old.location.write)
        reclaim(self._scheduler, old, "an I/O bus")

    async def destroy(self, device: IoDevice) -> None:
        """Free a device.

        KVM: kvm_iodevice_destructor, include/kvm/iodev.h
        """
        await self._scheduler.point(device.location.write)
        reclaim(self._scheduler, device, device.name)
