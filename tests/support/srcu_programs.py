"""Readers and updaters of one SRCU domain, for exhaustive runs."""

from __future__ import annotations

from rcu.operation import Location
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.domain import SrcuDomain
from tests.support.running import Build


def sections_against_grace_periods(
    kind: type[SrcuDomain] = SrcuDomain,
    *,
    grace_periods: int = 1,
    readers: int = 1,
    sections: int = 1,
    expedited: bool = True,
) -> Build[SrcuDomain]:
    """Readers that enter and leave; an updater that changes something and waits.

    Reader number n runs on processor n, as far as there are processors.
    """

    def build(scheduler: Scheduler) -> SrcuDomain:
        domain = kind(scheduler, "srcu")
        pointer = Location("pointer")

        async def read() -> None:
            for _ in range(sections):
                await domain.read_unlock(await domain.read_lock())

        async def update() -> None:
            for _ in range(grace_periods):
                await scheduler.point(pointer.write)
                if expedited:
                    await domain.synchronize_expedited()
                else:
                    await domain.synchronize()

        for index in range(readers):
            scheduler.task(f"reader{index}", read, cpu=index % scheduler.cpus)
        scheduler.task("updater", update, cpu=0)
        return domain

    return build
