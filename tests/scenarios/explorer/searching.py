"""Search a program to its end, or look at one of its states."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from rcu.schedule.pool import open_pool
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Body
from scenarios.explorer.fingerprint import Fingerprinter
from scenarios.explorer.program import Finding, Instance, Program, SchedulerT, Watch
from scenarios.explorer.states import StateSearch


@asynccontextmanager
async def begun(program: Program) -> AsyncIterator[Instance]:
    """A program that stands at its first points."""
    async with open_pool() as pool:
        instance = Instance(program)
        instance.scheduler.borrowed(await pool.lend(instance.scheduler))
        try:
            instance.begin()
            yield instance
        finally:
            instance.close()


async def search(
    program: Program,
    *,
    symmetric: bool = True,
    budget: int = 1_000_000,
) -> StateSearch:
    """Visit every state, so many steps at a time."""
    async with begun(program) as instance:
        done = StateSearch(instance, symmetric=symmetric)
        done.begin()
        while done.advance(budget):
            pass
        return done


async def replay(program: Program, order: tuple[int, ...]) -> Finding | None:
    """What an order shows."""
    async with begun(program) as instance:
        scheduler = instance.scheduler
        scheduler.follow(order)
        finding = instance.look()
        if finding is None and not scheduler.ready():
            finding = instance.at_end()
        return finding


async def fingerprint(program: Program, order: tuple[int, ...]) -> bytes:
    """Of the state behind an order."""
    async with begun(program) as instance:
        scheduler = instance.scheduler
        printer = Fingerprinter(scheduler, instance.heap)
        scheduler.follow(order)
        return printer.of(printer.parts())


class Bodies(Program):
    """Tasks that are made from a scheduler.

    Args:
        make: Makes shared objects, and gives the bodies of the tasks.
    """

    name = "bodies"

    def __init__(self, make: Callable[[Scheduler], Sequence[Body]]) -> None:
        self.make = make

    def build(self, make: Callable[..., SchedulerT]) -> tuple[SchedulerT, Watch]:
        scheduler = make(cpus=1)
        for index, body in enumerate(self.make(scheduler)):
            scheduler.task(f"task{index}", body)
        return scheduler, Watch()
