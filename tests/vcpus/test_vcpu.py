"""The run loop: one section an exit, none in the guest."""

from __future__ import annotations

from collections import Counter

import pytest

from memslots.slot import INVALID
from memslots.units import Gpa
from rcu.errors import WrongUnlock
from rcu.operation import Operation
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from rcu.tracepoints import SectionBegan, SectionEnded
from scenarios.strategies.random_walk import RandomWalk
from tests.support.running import Run
from tests.vcpus.world import (
    HVA,
    World,
    access,
    accesses,
    lookups,
    region,
    run_alone,
    run_world,
)
from vcpus.guest_memory import Outcome
from vcpus.tracepoints import GuestMemoryAccessed, SlotLookedUp
from vcpus.vcpu import Access, Exit, Vcpu

SLOT = region(1, 0x10, 4)
READ = access(Exit.READ, 0x10)


def story(run: Run[World], actor: str = "vcpu0") -> str:
    """What a vCPU told: sections as brackets, accesses by their outcome."""
    words = []
    for _, who, event in run.records:
        match event:
            case SectionBegan() if who == actor:
                words.append("(")
            case SectionEnded() if who == actor:
                words.append(")")
            case GuestMemoryAccessed(outcome=outcome) if who == actor:
                words.append(outcome)
    return " ".join(words)


async def run_vcpu(
    pool: TaskPool, accesses: list[Access], exits: int, *regions: object, cpus: int = 1
) -> Run[World]:
    """One vCPU, alone."""

    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()

        async def run() -> None:
            await vcpu.run(accesses, exits)

        scheduler.task("vcpu0", run)

    run = await run_world(pool, populate, *regions, cpus=cpus)  # type: ignore[arg-type]
    assert run.report.ending is Ending.COMPLETED
    return run


async def test_each_exit_is_one_section(pool: TaskPool) -> None:
    kinds = (Exit.READ, Exit.EMULATED_WRITE, Exit.WRITE, Exit.EMULATED_READ)
    wanted = [access(kind, 0x10) for kind in kinds]
    run = await run_vcpu(pool, wanted, 4, SLOT)
    assert story(run) == "( ) ( ram ) ( ram ) ( ram ) ( ram )"
    assert run.made.vcpus[0].exits == 4
    assert accesses(run) == [
        (0x10, False, "ram", HVA),
        (0x10, True, "ram", HVA),
        (0x10, True, "ram", HVA),
        (0x10, False, "ram", HVA),
    ]


async def test_accesses_are_made_over_and_over(pool: TaskPool) -> None:
    wanted = [access(Exit.READ, 0x10), access(Exit.READ, 0x14)]
    run = await run_vcpu(pool, wanted, 5, SLOT)
    assert [outcome for _, _, outcome, _ in accesses(run)] == [
        "ram",
        "mmio",
        "ram",
        "mmio",
        "ram",
    ]
    assert lookups(run) == [
        ("tree", 1),
        ("tree", None),
        ("vcpu", 1),
        ("tree", None),
        ("vcpu", 1),
    ]


async def test_the_guest_runs_in_no_section(pool: TaskPool) -> None:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()

        async def run() -> None:
            await vcpu.run([READ], 3)

        async def watch() -> None:
            for _ in range(40):
                await scheduler.point(Operation("watch"))
                in_guest = str(scheduler.tasks[1].op).startswith("run the guest")
                if in_guest:
                    assert scheduler.tasks[1].sections == []
                    seen.append(vcpu.exits)

        scheduler.task("vcpu0", run)
        scheduler.task("watcher", watch)

    seen: list[int] = []
    run = await run_world(pool, populate, SLOT)
    assert run.report.ending is Ending.COMPLETED
    assert set(seen) >= {0, 1, 2}


@pytest.mark.parametrize("kind", [Exit.READ, Exit.WRITE])
async def test_a_fault_on_an_invalid_slot_is_retried_in_a_new_section_each_time(
    pool: TaskPool, kind: Exit
) -> None:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()

        async def run() -> None:
            await vcpu.run([access(kind, 0x10)], None)

        async def kick() -> None:
            enough = Operation("wait for", reads=(vcpu.exits_location,))
            await scheduler.point(enough, lambda: vcpu.exits == 5)
            await vcpu.kick_out()

        scheduler.task("vcpu0", run)
        scheduler.task("main", kick)

    run = await run_world(pool, populate, region(1, 0x10, flags=INVALID))
    assert run.report.ending is Ending.COMPLETED
    told = story(run)
    assert told.startswith("( ) ( retry ) ( retry ) ( retry ) ( retry ) ( retry )")
    assert "retry retry" not in told
    assert "ram" not in told
    found = [found_in for found_in, _ in lookups(run)]
    assert found == ["tree"] + ["vcpu"] * (len(found) - 1)


async def test_an_emulated_access_to_an_invalid_slot_fails_and_is_over(
    pool: TaskPool,
) -> None:
    wanted = [access(Exit.EMULATED_READ, 0x10), access(Exit.EMULATED_WRITE, 0x10)]
    run = await run_vcpu(pool, wanted, 3, region(1, 0x10, flags=INVALID))
    assert story(run) == "( ) ( bad ) ( bad ) ( bad )"
    assert run.made.vcpus[0].exits == 3


def delete_while_touched(kind: type[Vcpu] = Vcpu) -> object:
    """A vCPU that reads a page while its slot is deleted."""

    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu(kind=kind)

        async def run() -> None:
            await vcpu.run([READ], None)

        async def write() -> None:
            await world.update.set_memory_region(region(1, 0, 0))
            await vcpu.kick_out()

        scheduler.task("vcpu0", run)
        scheduler.task("writer", write)

    return populate


async def test_a_slot_that_is_deleted_is_ram_then_retried_then_mmio(
    pool: TaskPool,
) -> None:
    seen: Counter[str] = Counter()
    for seed in range(100):
        run = await run_world(
            pool,
            delete_while_touched(),  # type: ignore[arg-type]
            SLOT,
            strategy=RandomWalk(seed),
        )
        assert run.report.ending is Ending.COMPLETED
        outcomes = [outcome for _, _, outcome, _ in accesses(run)]
        order = ["ram", "retry", "mmio"]
        assert outcomes == sorted(outcomes, key=order.index)
        seen.update(outcomes)
        flags = {
            (event.slot.serial, event.slot.flags)
            for _, _, event in run.records
            if isinstance(event, SlotLookedUp) and event.slot is not None
        }
        assert flags <= {(1, 0), (2, INVALID)}
    assert all(seen[outcome] > 20 for outcome in ("ram", "retry", "mmio"))


class Stubborn(Vcpu):
    """Retries a fault without going back to the guest, so its section never ends."""

    async def _touch(self, gpa: Gpa, *, write: bool) -> None:
        while await self.memory.fault_in(self, gpa, write=write) is Outcome.RETRY:
            pass


async def test_a_vcpu_that_retries_in_one_section_holds_up_the_writer_for_ever(
    pool: TaskPool,
) -> None:
    endings = Counter(
        [
            (
                await run_world(
                    pool,
                    delete_while_touched(Stubborn),  # type: ignore[arg-type]
                    SLOT,
                    strategy=RandomWalk(seed),
                    budget=2_000,
                )
            ).report.ending
            for seed in range(30)
        ]
    )
    assert set(endings) == {Ending.COMPLETED, Ending.BUDGET}


async def test_a_migration_happens_inside_the_section(pool: TaskPool) -> None:
    run = await run_vcpu(pool, [access(Exit.MIGRATE, 0x10)], 1, SLOT, cpus=2)
    assert story(run) == "( ) ( ram )"
    first, second = run.made.vm.srcu.cpus
    # The task begins on the second processor; it leaves its last section on the first.
    assert (sum(first.lock_count), sum(first.unlock_count)) == (0, 1)
    assert (sum(second.lock_count), sum(second.unlock_count)) == (2, 1)


async def test_migrations_go_round_the_processors(pool: TaskPool) -> None:
    run = await run_vcpu(pool, [access(Exit.MIGRATE, 0x10)], 6, SLOT, cpus=3)
    cpus = run.made.vm.srcu.cpus
    locks = [sum(cpu.lock_count) for cpu in cpus]
    unlocks = [sum(cpu.unlock_count) for cpu in cpus]
    assert (locks, unlocks) == ([2, 3, 2], [2, 3, 2])
    assert sum(locks) == sum(unlocks) == 7


async def test_a_migration_is_waited_for_like_any_reader(pool: TaskPool) -> None:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()

        async def migrate() -> None:
            await vcpu.run([access(Exit.MIGRATE, 0x10)], 8)

        async def write() -> None:
            await world.update.set_memory_region(region(1, 0, 0))

        scheduler.task("vcpu0", migrate)
        scheduler.task("writer", write)

    for seed in range(100):
        run = await run_world(pool, populate, SLOT, strategy=RandomWalk(seed), cpus=3)
        assert run.report.ending is Ending.COMPLETED


async def test_a_vcpu_that_was_kicked_before_it_began_makes_no_access(
    pool: TaskPool,
) -> None:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()

        async def both() -> None:
            await vcpu.kick_out()
            await vcpu.run([READ], None)

        scheduler.task("vcpu0", both)

    run = await run_world(pool, populate, SLOT)
    assert run.report.ending is Ending.COMPLETED
    assert story(run) == "( ) ( )"
    assert run.made.vcpus[0].exits == 1


async def test_a_vcpu_that_is_kicked_ends_its_exit_and_leaves(pool: TaskPool) -> None:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()

        async def go_on() -> None:
            await vcpu.run([READ], None)
            assert vcpu.srcu_idx is None

        scheduler.task("vcpu0", go_on)
        scheduler.task("main", vcpu.kick_out)

    for seed in range(50):
        run = await run_world(pool, populate, SLOT, strategy=RandomWalk(seed))
        assert run.report.ending is Ending.COMPLETED
        told = story(run)
        assert told.startswith("( ) ")
        assert told.endswith("( )")
        assert told.count("(") == run.made.vcpus[0].exits + 1


async def test_the_one_index_of_a_vcpu_is_not_overwritten(pool: TaskPool) -> None:
    async def twice(world: World) -> None:
        vcpu = world.vcpu()
        await vcpu.srcu_read_lock()
        await vcpu.srcu_read_lock()

    with pytest.raises(WrongUnlock, match=r"^vcpu0 enters its read section twice$"):
        await run_alone(pool, twice)

    async def never(world: World) -> None:
        await world.vcpu().srcu_read_unlock()

    text = r"^vcpu0 leaves a read section it is not in$"
    with pytest.raises(WrongUnlock, match=text):
        await run_alone(pool, never)
