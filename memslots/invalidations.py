"""MMU-notifier sections that hold up a swap.

The start and the end of an invalidation must see the same active set. So a swap waits
until no section is open, and publishes under the same spin lock, so that none can open
in between.

KVM: mn_invalidate_lock, mn_active_invalidate_count, mn_memslots_update_rcuwait
"""

from __future__ import annotations

from memslots.errors import UnbalancedNotifier, UpdateDuringDestruction
from memslots.tracepoints import InvalidationsForgotten
from rcu.locks import SpinLock
from rcu.operation import Location
from rcu.rcuwait import Rcuwait
from rcu.schedule.scheduler import Scheduler


class Invalidations:
    """The count of open sections, its lock, and the writer who waits for it.

    Attributes:
        lock: Protects the count and the publishing of a set.
        active_count: Open sections; never negative.
        count_location: Where the count is read and written.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.lock = SpinLock(scheduler, "mn_invalidate_lock")
        self.active_count = 0
        self._scheduler = scheduler
        self.count_location = Location("mn_active_invalidate_count")
        self._rcuwait = Rcuwait(scheduler, "mn_memslots_update_rcuwait")

    async def wait_until_none(self) -> None:
        """Wait until no section is open, and keep it so.

        Locks:
            Acquires and keeps: ``mn_invalidate_lock``. The caller releases it once the
            set is published.

        KVM: kvm_swap_active_memslots, virt/kvm/kvm_main.c
        """
        await self.lock.acquire()
        await self._rcuwait.prepare()
        while await self._any_active():
            await self.lock.release()
            await self._rcuwait.sleep()
            await self.lock.acquire()
            await self._rcuwait.prepare()
        await self._rcuwait.finish()

    async def _any_active(self) -> bool:
        await self._scheduler.point(self.count_location.read)
        return self.active_count > 0

    async def begin(self) -> None:
        """Open a section.

        KVM: kvm_mmu_notifier_invalidate_range_start, virt/kvm/kvm_main.c
        """
        async with self.lock:
            await self._scheduler.point(self.count_location.write)
            self.active_count += 1

    async def end(self) -> None:
        """Close a section; the last one wakes the writer.

        Raises:
            UnbalancedNotifier: No section is open.

        KVM: kvm_mmu_notifier_invalidate_range_end, virt/kvm/kvm_main.c
        """
        async with self.lock:
            await self._scheduler.point(self.count_location.write)
            if not self.active_count:
                raise UnbalancedNotifier(
                    f"{self._scheduler.current.name} ends an MMU-notifier section that"
                    " was never begun"
                )
            self.active_count -= 1
            none_left = self.active_count == 0
        if none_left:
            await self._rcuwait.wake()

    async def forget_open(self) -> None:
        """Count the sections as ended that nobody is left to end.

        The notifier must have been unregistered: whoever began a section before will
        not end it any more, and a swap would wait for ever.

        Raises:
            UpdateDuringDestruction: Somebody waits for them already.

        KVM: kvm_destroy_vm, virt/kvm/kvm_main.c
        """
        await self._scheduler.point(self.count_location.write)
        if self._rcuwait.waiter is not None:
            raise UpdateDuringDestruction(
                f"{self._rcuwait.waiter.name} changes a slot while"
                f" {self._scheduler.current.name} destroys the VM"
            )
        if self._scheduler.tracing:
            self._scheduler.emit(InvalidationsForgotten(self.active_count))
        self.active_count = 0
