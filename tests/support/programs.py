"""Small programs with locks and SRCU that more than one test runs."""

from __future__ import annotations

from functools import partial

import attrs

from rcu.locks import Mutex, RwLock, SpinLock
from rcu.operation import Location
from rcu.published import Published
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.counters import Callback
from rcu.srcu.domain import SrcuDomain


@attrs.define(eq=False)
class Shop:
    """What the tasks of `readers_and_writers` share, and what became of it."""

    domain: SrcuDomain
    mutex: Mutex
    count: int = 0
    called: int = 0
    seen: list[int] = attrs.field(factory=list)


READERS, WRITERS, ROUNDS = 3, 2, 2


def readers_and_writers(scheduler: Scheduler) -> Shop:
    """Readers that nest and migrate; writers that count, publish and wait.

    Each lock kind, both speeds of grace period, callbacks, a barrier and polling occur.
    """
    shop = Shop(SrcuDomain(scheduler, "srcu"), Mutex(scheduler, "slots_lock"))
    domain = shop.domain
    value = Published(scheduler, "value", 0, domain=domain, locks=(shop.mutex,))
    spin = SpinLock(scheduler, "spin")
    mmu_lock = RwLock(scheduler, "mmu_lock")
    tally = Location("tally")

    async def reader(cpu: int) -> None:
        for _ in range(ROUNDS):
            outer = await domain.read_lock()
            seen = await value.dereference()
            scheduler.current.cpu = (cpu + 1) % scheduler.cpus
            async with domain.reading():
                await mmu_lock.acquire_read()
                await scheduler.point(tally.read)
                await mmu_lock.release()
            await domain.read_unlock(outer)
            scheduler.current.cpu = cpu
            shop.seen.append(seen)

    async def writer(fast: bool) -> None:  # noqa: FBT001 - one program, two speeds
        for _ in range(ROUNDS):
            async with shop.mutex:
                old = await value.dereference()
                async with spin:
                    await value.assign(old + 1)
                await mmu_lock.acquire_write()
                await scheduler.point(tally.write)
                shop.count += 1
                await mmu_lock.release()
                if fast:
                    await domain.synchronize_expedited()
                else:
                    await domain.synchronize()

    async def caller() -> None:
        def called() -> None:
            shop.called += 1

        await domain.call(Callback("called", called, (tally,)))
        cookie = await domain.start_poll()
        await domain.barrier()
        await domain.wait_for(cookie)

    for index in range(READERS):
        cpu = index % scheduler.cpus
        scheduler.task(f"reader{index}", partial(reader, cpu), cpu=cpu)
    for index in range(WRITERS):
        scheduler.task(f"writer{index}", partial(writer, fast=bool(index)))
    scheduler.task("caller", caller)
    return shop


def opposite_locks(scheduler: Scheduler) -> None:
    """Two tasks that take two mutexes in opposite order."""
    left, right = Mutex(scheduler, "left"), Mutex(scheduler, "right")

    async def take(first: Mutex, second: Mutex) -> None:
        async with first, second:
            pass

    scheduler.task("a", partial(take, left, right))
    scheduler.task("b", partial(take, right, left))
