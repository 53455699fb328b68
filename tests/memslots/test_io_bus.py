"""The I/O bus: devices come and go, and what was freed is used by nobody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from memslots.errors import IoctlError
from memslots.io_bus import IoBuses
from memslots.vm import Vm
from rcu.reclaim import is_reclaimed
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order
from tests.support.running import Run, run_controlled

Body = Callable[[IoBuses], Awaitable[None]]


def program(*bodies: Body, devices: int = 2) -> Callable[[Scheduler], IoBuses]:
    """A bus and who uses it."""

    def build(scheduler: Scheduler) -> IoBuses:
        buses = Vm(scheduler).buses
        buses.install(devices)
        for place, body in enumerate(bodies):

            async def run(body: Body = body) -> None:
                await body(buses)

            scheduler.task(f"task {place}", run)
        return buses

    return build


async def completed(pool: TaskPool, *bodies: Body) -> IoBuses:
    run = await run_controlled(pool, RoundRobin(), program(*bodies))
    assert run.report.ending is Ending.COMPLETED
    return run.made


async def register(buses: IoBuses) -> None:
    async with buses.slots_lock:
        await buses.register("new", "freeing of the old bus")


async def unregister(buses: IoBuses) -> None:
    async with buses.slots_lock:
        await buses.unregister_all()


async def fail_to_unregister(buses: IoBuses) -> None:
    async with buses.slots_lock:
        await buses.unregister_all(shrinks=False)


async def read(buses: IoBuses) -> None:
    async with buses.srcu.reading():
        await buses.read()


def names(buses: IoBuses) -> list[str] | None:
    """The devices that readers find."""
    bus = buses.bus.peek()
    return None if bus is None else [device.name for device in bus.devices]


async def test_a_device_gets_behind_the_others_and_the_old_bus_is_freed(
    pool: TaskPool,
) -> None:
    old = []

    async def keep_and_register(buses: IoBuses) -> None:
        old.append(buses.bus.peek())
        await register(buses)
        await buses.srcu.barrier()

    buses = await completed(pool, keep_and_register)
    assert names(buses) == ["device 0", "device 1", "new"]
    assert is_reclaimed(old[0])


async def test_every_device_is_asked(pool: TaskPool) -> None:
    answers = []

    async def keep_answers(buses: IoBuses) -> None:
        async with buses.srcu.reading():
            answers.append(await buses.read())

    await completed(pool, keep_answers)
    assert answers == [["device 0", "device 1"]]


@pytest.mark.parametrize(
    ("body", "left", "grace_periods"),
    [(unregister, [], 2), (fail_to_unregister, None, 1)],
)
async def test_devices_are_destroyed_when_they_are_taken_off(
    pool: TaskPool, body: Body, left: list[str] | None, grace_periods: int
) -> None:
    gone = []

    async def keep_and_call(buses: IoBuses) -> None:
        bus = buses.bus.peek()
        assert bus is not None
        gone.extend([bus, *bus.devices])
        await body(buses)

    buses = await completed(pool, keep_and_call)
    assert names(buses) == left
    assert [is_reclaimed(each) for each in gone] == [True, True, True]
    assert buses.srcu.gp_seq == 4 * grace_periods


@pytest.mark.parametrize("body", [register, read])
async def test_without_a_bus_there_is_no_memory(pool: TaskPool, body: Body) -> None:
    refused = []

    async def fail_and_call(buses: IoBuses) -> None:
        await fail_to_unregister(buses)
        try:
            await body(buses)
        except IoctlError as error:
            refused.append(str(error))

    await completed(pool, fail_and_call)
    assert refused == ["ENOMEM: the bus is gone"]


async def test_nothing_is_left_to_be_taken_off_without_a_bus(pool: TaskPool) -> None:
    async def twice(buses: IoBuses) -> None:
        await fail_to_unregister(buses)
        await unregister(buses)

    assert names(await completed(pool, twice)) is None


@pytest.mark.parametrize("body", [register, unregister, fail_to_unregister])
async def test_no_order_lets_anybody_use_what_is_freed(
    pool: TaskPool, body: Body
) -> None:
    def ending(run: Run[IoBuses]) -> Ending:
        return run.report.ending

    async def try_to_read(buses: IoBuses) -> None:
        try:
            await read(buses)
        except IoctlError:
            await buses.srcu.barrier()

    build = program(try_to_read, body, devices=1)
    found = await in_every_order(pool, build, ending, preemptions=2)
    assert set(found) == {Ending.COMPLETED}
