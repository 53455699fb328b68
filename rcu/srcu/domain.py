"""A domain of read sections and grace periods: what readers and updaters call.

Two gaps matter and are separate schedule points: a reader reads ``srcu_idx`` and only
then increments the counter of that rank, and a scan reads one counter after the other.
"""

from __future__ import annotations

from types import TracebackType

import attrs

from rcu.errors import (
    DomainBusy,
    DoubleCallback,
    GracePeriodInReader,
    WrongUnlock,
    goes_on,
)
from rcu.operation import Operation
from rcu.rcuwait import Completion
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Task
from rcu.srcu.counters import Callback, Cpu
from rcu.srcu.grace_period import STATE_MASK, GracePeriods
from rcu.tracepoints import (
    CallbackQueued,
    SectionBegan,
    SectionEnded,
    SynchronizeBegan,
    SynchronizeEnded,
)


@attrs.frozen
class GracePeriodDone:
    """Condition of a polled grace period: its cookie has been reached."""

    domain: SrcuDomain
    cookie: int

    def __call__(self) -> bool:
        """Whether the domain's sequence number has reached the cookie."""
        return self.domain.gp_seq >= self.cookie


class SrcuDomain(GracePeriods):
    """Read sections and grace periods that belong together.

    Args:
        scheduler: Whose tasks are readers and updaters.
        name: The kernel's name for it.

    Linux: struct srcu_struct, include/linux/srcutree.h
    """

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        super().__init__(scheduler, name)
        self._wakeups: dict[Task, tuple[Callback, Completion]] = {}
        self._wait_for_end = Operation("wait for", reads=(self.seq_location,))
        self._look_idle = Operation(
            "check for work",
            reads=(self.seq_location, *(cpu.queue for cpu in self.cpus)),
        )
        self._enqueue = tuple(
            Operation("queue on", reads=(self.seq_location,), writes=(cpu.queue,))
            for cpu in self.cpus
        )

    # Readers.

    async def read_lock(self) -> int:
        """Enter a read section; sections may nest.

        Returns:
            The index to leave it with.

        Linux: __srcu_read_lock, kernel/rcu/srcutree.c
        """
        scheduler = self._scheduler
        idx = await self.current_rank()
        # A grace period may flip the index here and miss this reader; the next one
        # finds it in its first scan.
        task = scheduler.current
        await self.count_in(self.cpus[task.cpu], idx)
        task.sections.append((self, idx))
        if scheduler.tracing:
            scheduler.emit(SectionBegan(self.name, idx))
        return idx

    async def current_rank(self) -> int:
        """The rank that new sections use, as a reader finds it."""
        await self._scheduler.point(self.idx_location.read)
        return self.srcu_idx & 1

    async def count_in(self, cpu: Cpu, rank: int) -> None:
        """Count the current task into a rank, on its processor."""
        await self._scheduler.point(cpu.lock[rank])
        cpu.lock_count[rank] += 1

    async def read_unlock(self, idx: int) -> None:
        """Leave a read section.

        Args:
            idx: What `read_lock` of this section returned.

        Raises:
            WrongUnlock: The current task is in no section with this index.

        Linux: __srcu_read_unlock, kernel/rcu/srcutree.c
        """
        scheduler = self._scheduler
        task = scheduler.current
        if (self, idx) not in task.sections:
            raise WrongUnlock(
                f"{task.name} leaves a read section of {self.name} with index {idx},"
                f" but is in {self._sections_of_current() or 'none'}"
            )
        await self.count_out(self.cpus[task.cpu], idx)
        if scheduler.tracing:
            scheduler.emit(SectionEnded(self.name, idx))
        task.sections.remove((self, idx))

    async def count_out(self, cpu: Cpu, rank: int) -> None:
        """Count the current task out of a rank, on the processor that it is on now."""
        await self._scheduler.point(cpu.unlock[rank])
        cpu.unlock_count[rank] += 1

    def reading(self) -> ReadSection:
        """A read section as a block: ``async with domain.reading(): ...``."""
        return ReadSection(self)

    def held(self) -> bool:
        """Whether the current task is in a section of this domain."""
        return any(domain is self for domain, _ in self._scheduler.current.sections)

    def _sections_of_current(self) -> str:
        return ", ".join(
            f"one with index {idx}"
            for domain, idx in self._scheduler.current.sections
            if domain is self
        )

    # Updaters.

    async def synchronize(self) -> None:
        """Wait until every section that began before this call is over.

        Raises:
            GracePeriodInReader: The current task is in a section of this domain.
            SleepInAtomic: The current task holds a spin lock.

        Linux: synchronize_srcu, kernel/rcu/srcutree.c
        """
        self._assert_may_wait("synchronize")
        await self._scheduler.point(self._look_idle)
        await self._synchronize(expedited=self._is_idle())

    async def synchronize_expedited(self) -> None:
        """Like `synchronize`, without waiting for the timer between scans.

        Raises:
            GracePeriodInReader: The current task is in a section of this domain.
            SleepInAtomic: The current task holds a spin lock.

        Linux: synchronize_srcu_expedited, kernel/rcu/srcutree.c
        """
        await self._synchronize(expedited=True)

    async def _synchronize(self, *, expedited: bool) -> None:
        scheduler = self._scheduler
        self._assert_may_wait("synchronize")
        if scheduler.tracing:
            scheduler.emit(SynchronizeBegan(self.name, expedited))
        callback, done = self._wakeup_of(scheduler.current)
        done.done = False
        await self.call(callback, expedited=expedited)
        await done.wait()
        if scheduler.tracing:
            scheduler.emit(SynchronizeEnded(self.name))

    def _wakeup_of(self, task: Task) -> tuple[Callback, Completion]:
        """What wakes ``task`` after a grace period; it waits for one at a time."""
        if task not in self._wakeups:
            name = f"synchronize of {task.name}"
            done = Completion(self._scheduler, name, self.worker)
            callback = Callback(name, done.complete, (done.location,))
            self._wakeups[task] = (callback, done)
        return self._wakeups[task]

    async def call(self, callback: Callback, *, expedited: bool = False) -> None:
        """Have ``callback`` called after a grace period.

        Args:
            callback: Not queued anywhere at the moment.
            expedited: Whether the grace period is in a hurry.

        Raises:
            DoubleCallback: It is queued already.

        Linux: call_srcu, srcu_gp_start_if_needed, kernel/rcu/srcutree.c
        """
        await self.enqueue(callback)
        await self.request(callback.cookie, expedited=expedited)

    async def enqueue(self, callback: Callback) -> None:
        """Queue ``callback`` on this processor, numbered by its grace period."""
        scheduler = self._scheduler
        place = scheduler.current.cpu
        await scheduler.point(self._enqueue[place])
        if callback.cookie:
            raise DoubleCallback(f"{callback.name} is queued on {self.name} already")
        callback.cookie = self.snap()
        self.cpus[place].callbacks.append(callback)
        if scheduler.tracing:
            scheduler.emit(CallbackQueued(self.name, callback.name, callback.cookie))

    async def barrier(self) -> None:
        """Wait until all callbacks that are queued now have been called.

        Raises:
            GracePeriodInReader: The current task is in a section of this domain.
            SleepInAtomic: The current task holds a spin lock.

        Linux: srcu_barrier, kernel/rcu/srcutree.c
        """
        self._assert_may_wait("barrier")
        last: list[Completion] = []
        for place in range(len(self.cpus)):
            last += await self.barrier_one_cpu(place)
        for done in last:
            await done.wait()

    async def barrier_one_cpu(self, place: int) -> list[Completion]:
        """Queue a callback behind those that are queued on one processor.

        Returns:
            What it completes; empty if nothing is queued there.

        Linux: srcu_barrier_one_cpu, kernel/rcu/srcutree.c
        """
        scheduler, cpu = self._scheduler, self.cpus[place]
        await scheduler.point(self._enqueue[place])
        if not cpu.callbacks:
            return []
        name = f"barrier of {scheduler.current.name} on CPU {place}"
        done = Completion(scheduler, name, self.worker)
        cookie = cpu.callbacks[-1].cookie
        cpu.callbacks.append(Callback(name, done.complete, (done.location,), cookie))
        return [done]

    async def get_state(self) -> int:
        """Take a cookie: `poll` says when a grace period has passed since now.

        Linux: get_state_synchronize_srcu, kernel/rcu/srcutree.c
        """
        await self._scheduler.point(self.seq_location.read)
        return self.snap()

    async def start_poll(self) -> int:
        """Take a cookie and see to it that the grace period comes.

        Linux: start_poll_synchronize_srcu, kernel/rcu/srcutree.c
        """
        cookie = await self.get_state()
        await self.request(cookie, expedited=False)
        return cookie

    async def poll(self, cookie: int) -> bool:
        """Whether the grace period of ``cookie`` is over.

        Linux: poll_state_synchronize_srcu, kernel/rcu/srcutree.c
        """
        await self._scheduler.point(self.seq_location.read)
        return self.gp_seq >= cookie

    async def wait_for(self, cookie: int) -> None:
        """Wait until the grace period of ``cookie`` is over; somebody must start it."""
        self._assert_may_wait("wait for a cookie")
        await self._scheduler.point(self._wait_for_end, GracePeriodDone(self, cookie))

    def cleanup(self) -> None:
        """Give the domain up.

        Raises:
            DomainBusy: Readers, a grace period or callbacks remain.

        Linux: cleanup_srcu_struct, kernel/rcu/srcutree.c
        """
        cpus = self.cpus
        if sum(sum(cpu.lock_count) - sum(cpu.unlock_count) for cpu in cpus):
            raise DomainBusy(f"{self.name} is cleaned up with readers inside")
        if self.gp_seq & STATE_MASK or self.gp_seq < self.gp_seq_needed:
            raise DomainBusy(f"{self.name} is cleaned up during a grace period")
        if any(cpu.callbacks for cpu in cpus):
            raise DomainBusy(f"{self.name} is cleaned up with callbacks queued")

    def snap(self) -> int:
        """The number that means: a full grace period has begun and ended since now."""
        return (self.gp_seq + 2 * STATE_MASK + 1) & ~STATE_MASK

    async def request(self, cookie: int, *, expedited: bool) -> None:
        """See to it that the grace period of ``cookie`` comes."""
        await self._scheduler.point(self.needed_location.write)
        self.gp_seq_needed = max(self.gp_seq_needed, cookie)
        if expedited:
            self.gp_seq_needed_exp = max(self.gp_seq_needed_exp, cookie)

    def _is_idle(self) -> bool:
        return not self.gp_seq & STATE_MASK and not any(
            cpu.callbacks for cpu in self.cpus
        )

    def _assert_may_wait(self, what: str) -> None:
        if self.held():
            raise GracePeriodInReader(
                f"{self._scheduler.current.name} calls {what} of {self.name} inside"
                " one of its read sections: it waits for itself"
            )
        self._scheduler.assert_may_sleep(f"{what} of {self.name}")


class ReadSection:
    """A read section as an asynchronous context manager."""

    __slots__ = ("_domain", "_idx")

    def __init__(self, domain: SrcuDomain) -> None:
        self._domain = domain
        self._idx = -1

    async def __aenter__(self) -> None:
        """Enter the section."""
        self._idx = await self._domain.read_lock()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the section, unless the run is over anyway."""
        if error is None or goes_on(error):
            await self._domain.read_unlock(self._idx)
