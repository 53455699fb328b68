"""From slot to host address: who may access it, and what else becomes of the access."""

from __future__ import annotations

import errno

import pytest

from memslots.errors import MemoryRegionError
from memslots.slot import INVALID, LOG_DIRTY_PAGES, READONLY
from memslots.units import PAGE_SIZE
from rcu.schedule.pool import TaskPool
from tests.vcpus.world import (
    HVA,
    Looker,
    World,
    accesses,
    gpa,
    region,
    run_alone,
)
from vcpus.guest_memory import Outcome

RAM = region(1, 0x10, 4)
ROM = region(2, 0x20, 4, READONLY)
GOING = region(3, 0x30, 4, INVALID)
GOING_ROM = region(4, 0x40, 4, INVALID | READONLY)
ALL = (RAM, ROM, GOING, GOING_ROM)


@pytest.mark.parametrize(
    ("how", "gfn", "outcome", "told"),
    [
        ("read", 0x10, Outcome.RAM, "ram"),
        ("write", 0x13, Outcome.RAM, "ram"),
        ("read", 0x14, Outcome.MMIO, "mmio"),
        ("write", 0x14, Outcome.MMIO, "mmio"),
        ("read", 0x20, Outcome.RAM, "ram"),
        ("write", 0x20, Outcome.MMIO, "mmio"),
        ("read", 0x30, Outcome.RETRY, "retry"),
        ("write", 0x30, Outcome.RETRY, "retry"),
        ("write", 0x40, Outcome.RETRY, "retry"),
    ],
)
async def test_a_page_fault_is_resolved(
    pool: TaskPool, how: str, gfn: int, outcome: Outcome, told: str
) -> None:
    write = how == "write"

    async def body(world: World) -> None:
        async with world.vm.srcu.reading():
            found = await world.memory.fault_in(Looker(), gpa(gfn, 5), write=write)
        assert found is outcome

    run = await run_alone(pool, body, *ALL)
    hva = HVA + (gfn & 0xF) * PAGE_SIZE if outcome is Outcome.RAM else None
    assert accesses(run) == [(gfn, write, told, hva)]


@pytest.mark.parametrize(
    ("how", "gfn", "told"),
    [
        ("read", 0x10, "ram"),
        ("write", 0x10, "ram"),
        ("read without a vcpu", 0x10, "ram"),
        ("read", 0x14, "mmio"),
        ("write", 0x14, "mmio"),
        ("read without a vcpu", 0x14, "mmio"),
        ("read", 0x20, "ram"),
        ("write", 0x20, "read-only"),
        ("read without a vcpu", 0x20, "ram"),
        ("read", 0x30, "bad"),
        ("write", 0x30, "bad"),
        ("read without a vcpu", 0x30, "bad"),
        ("write", 0x40, "bad"),
    ],
)
async def test_kvms_own_access_succeeds_or_fails_with_efault(
    pool: TaskPool, how: str, gfn: int, told: str
) -> None:
    async def body(world: World) -> None:
        memory = world.memory
        try:
            async with world.vm.srcu.reading():
                if how == "write":
                    await memory.write_guest(Looker(), gpa(gfn), 7)
                elif how == "read":
                    assert await memory.read_guest(Looker(), gpa(gfn)) == 0
                else:
                    assert await memory.read_guest_without_vcpu(0, gpa(gfn)) == 0
        except MemoryRegionError as error:
            assert told != "ram"
            assert error.errno == errno.EFAULT  # noqa: PT017 - or none is raised
            text = f"EFAULT: guest address {gpa(gfn):#x}: {told}"
            assert str(error) == text  # noqa: PT017
        else:
            assert told == "ram"

    run = await run_alone(pool, body, *ALL)
    hva = HVA if told == "ram" else None
    assert accesses(run) == [(gfn, how == "write", told, hva)]


async def test_what_is_written_is_read_by_everybody(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        memory = world.memory
        async with world.vm.srcu.reading():
            await memory.write_guest(Looker(), gpa(0x11, 8), 42)
            assert await memory.read_guest(Looker(1), gpa(0x11, 3000)) == 42
            assert await memory.read_guest_without_vcpu(0, gpa(0x11)) == 42
            assert await memory.read_guest_without_vcpu(0, gpa(0x12)) == 0

    await run_alone(pool, body, RAM)


async def test_a_guest_that_writes_leaves_the_number_of_its_vcpu(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        async with world.vm.srcu.reading():
            await world.memory.fault_in(Looker(4), gpa(0x10), write=True)
            assert await world.memory.read_guest_without_vcpu(0, gpa(0x10)) == 5

    await run_alone(pool, body, RAM)


@pytest.mark.parametrize(
    ("change", "gfn"),
    [(region(1, 0x50, 4), 0x51), (region(1, 0x10, 4, LOG_DIRTY_PAGES), 0x11)],
)
async def test_what_is_in_memory_survives_a_change_of_its_slot(
    pool: TaskPool, change: object, gfn: int
) -> None:
    async def body(world: World) -> None:
        async with world.vm.srcu.reading():
            await world.memory.write_guest(Looker(), gpa(0x11), 42)
        await world.update.set_memory_region(change)  # type: ignore[arg-type]
        async with world.vm.srcu.reading():
            assert await world.memory.read_guest(Looker(), gpa(gfn)) == 42

    await run_alone(pool, body, RAM)


async def test_two_slots_over_the_same_host_pages_show_the_same(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        async with world.vm.srcu.reading():
            await world.memory.write_guest(Looker(), gpa(0x12), 9)
            assert await world.memory.read_guest(Looker(), gpa(0x22)) == 9

    await run_alone(pool, body, RAM, ROM)
