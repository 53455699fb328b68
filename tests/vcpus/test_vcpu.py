"""A vCPU: its sections, the guest that runs outside them, and what makes it leave."""

from __future__ import annotations

from collections import Counter

import pytest

from memslots.slot import INVALID, READONLY
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
    deletion,
    gpa,
    lookups,
    region,
    run_alone,
    run_world,
)
from vcpus.page_fault import Outcome
from vcpus.tracepoints import (
    GuestAccessed,
    GuestMemoryAccessed,
    PageFaulted,
    SlotLookedUp,
)
from vcpus.vcpu import Access, AccessKind, Vcpu
from vcpus.vcpu_requests import Mode

SLOT = region(1, 0x10, 4)
READ = access(AccessKind.READ, 0x10)
WRITE = access(AccessKind.WRITE, 0x10)


def story(run: Run[World], actor: str = "vcpu0") -> str:
    """What a vCPU told: sections as brackets, faults and accesses by their outcome."""
    words = []
    for _, who, event in run.records:
        if who != actor:
            continue
        match event:
            case SectionBegan():
                words.append("(")
            case SectionEnded():
                words.append(")")
            case PageFaulted(outcome=outcome) | GuestMemoryAccessed(outcome=outcome):
                words.append(outcome)
            case GuestAccessed(write=write):
                words.append("WRITE" if write else "READ")
    return " ".join(words)


async def run_vcpu(
    pool: TaskPool, accesses: list[Access], times: int, *regions: object, cpus: int = 1
) -> Run[World]:
    """One vCPU, alone."""

    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()

        async def run() -> None:
            await vcpu.run(accesses, times)

        scheduler.task("vcpu0", run)

    run = await run_world(pool, populate, *regions, cpus=cpus)  # type: ignore[arg-type]
    assert run.report.ending is Ending.COMPLETED, run.report
    return run


# Sections.


async def test_each_exit_is_one_section(pool: TaskPool) -> None:
    kinds = (
        AccessKind.READ,
        AccessKind.EMULATED_WRITE,
        AccessKind.WRITE,
        AccessKind.EMULATED_READ,
    )
    run = await run_vcpu(pool, [access(kind, 0x10) for kind in kinds], 4, SLOT)
    # Where the translation is there already, the guest needs nobody.
    assert story(run) == "( ) ( fixed ) READ ( ram ) WRITE ( ram )"
    assert run.made.vcpus[0].made == 4
    assert accesses(run) == [(0x10, True, "ram", HVA), (0x10, False, "ram", HVA)]


async def test_an_access_without_a_slot_is_over_after_its_exit(pool: TaskPool) -> None:
    wanted = [READ, access(AccessKind.READ, 0x14)]
    run = await run_vcpu(pool, wanted, 5, SLOT)
    once = "READ ( mmio )"
    assert story(run) == f"( ) ( fixed ) {once} {once} READ ( )"
    assert lookups(run) == [("tree", 1), ("tree", None)]


async def test_the_guest_runs_in_no_section(pool: TaskPool) -> None:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()

        async def run() -> None:
            await vcpu.run([READ, access(AccessKind.EMULATED_READ, 0x10)], 6)

        async def watch() -> None:
            for _ in range(80):
                await scheduler.point(Operation("watch"))
                task = scheduler.tasks[1]
                if str(task.op).startswith("look around"):
                    assert task.sections == []
                    assert vcpu.srcu_idx is None
                    assert vcpu.mode is Mode.IN_GUEST_MODE
                    seen.append(vcpu.made)

        scheduler.task("vcpu0", run)
        scheduler.task("watcher", watch)

    seen: list[int] = []
    run = await run_world(pool, populate, SLOT)
    assert run.report.ending is Ending.COMPLETED
    assert set(seen) == {0, 1, 2, 3, 4, 5}


async def test_the_mode_changes_before_the_section_ends_and_before_the_next(
    pool: TaskPool,
) -> None:
    run = await run_vcpu(pool, [READ], 1, SLOT)
    mine = [step.removeprefix("vcpu0: ") for step in run.steps]
    sections = [place for place, step in enumerate(mine) if "srcu" in step]
    modes = [place for place, step in enumerate(mine) if step == "write mode of vcpu0"]
    assert len(modes) == 4
    for enter, leave in zip(modes[::2], modes[1::2], strict=True):
        # One step ends a section, two begin one: reading the index, and counting.
        assert enter + 1 in sections
        assert leave + 1 in sections
        assert not set(sections) & set(range(enter + 2, leave))


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


# What the guest writes, and where.


async def test_a_guest_writes_the_number_of_its_vcpu_or_what_it_is_told(
    pool: TaskPool,
) -> None:
    wanted = [WRITE, Access(AccessKind.WRITE, gpa(0x11), value=42)]
    run = await run_vcpu(pool, wanted, 2, SLOT)
    written = [
        (event.gpa, event.hva, event.value)
        for _, _, event in run.records
        if isinstance(event, GuestAccessed)
    ]
    assert written == [(gpa(0x10), HVA, 1), (gpa(0x11), HVA + 0x1000, 42)]


async def test_an_emulated_write_takes_its_length(pool: TaskPool) -> None:
    wanted = [Access(AccessKind.EMULATED_WRITE, gpa(0x10, 0xFFE), length=4, value=7)]
    run = await run_vcpu(pool, wanted, 1, SLOT)
    assert accesses(run) == [
        (0x10, True, "ram", HVA),
        (0x11, True, "ram", HVA + 0x1000),
    ]


@pytest.mark.parametrize(
    ("kind", "gfn", "told"),
    [
        (AccessKind.READ, 0x20, "( ) ( fixed ) READ READ ( )"),
        # Each write to a read-only page is for a device; nothing is remembered of it.
        (AccessKind.WRITE, 0x20, "( ) ( mmio ) ( mmio )"),
        (AccessKind.EMULATED_READ, 0x20, "( ) ( ram ) ( ram )"),
        (AccessKind.EMULATED_WRITE, 0x20, "( ) ( read-only ) ( read-only )"),
        (AccessKind.PREFAULT, 0x20, "( ) ( fixed ) ( fixed )"),
        # An access of KVM itself that fails is over, too.
        (AccessKind.EMULATED_READ, 0x30, "( ) ( bad ) ( bad )"),
        (AccessKind.EMULATED_WRITE, 0x30, "( ) ( bad ) ( bad )"),
        (AccessKind.EMULATED_READ, 0x40, "( ) ( mmio ) ( mmio )"),
        (AccessKind.PREFAULT, 0x40, "( ) ( mmio ) ( mmio )"),
        (AccessKind.MIGRATE, 0x40, "( ) ( ) ( )"),
    ],
)
async def test_what_becomes_of_an_access(
    pool: TaskPool, kind: AccessKind, gfn: int, told: str
) -> None:
    slots = region(1, 0x20, 1, READONLY), region(2, 0x30, 1, INVALID)
    run = await run_vcpu(pool, [access(kind, gfn)], 2, *slots)
    assert story(run) == told
    assert run.made.vcpus[0].made == 2


@pytest.mark.parametrize("kind", [AccessKind.READ, AccessKind.WRITE])
async def test_a_fault_on_an_invalid_slot_is_retried_in_a_new_section_each_time(
    pool: TaskPool, kind: AccessKind
) -> None:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()

        async def run() -> None:
            await vcpu.run([access(kind, 0x10)], None)

        async def kick() -> None:
            for _ in range(200):
                await scheduler.point(Operation("wait"))
            await vcpu.kick_out()

        scheduler.task("vcpu0", run)
        scheduler.task("main", kick)

    run = await run_world(pool, populate, region(1, 0x10, flags=INVALID))
    assert run.report.ending is Ending.COMPLETED
    told = story(run)
    assert told.startswith("( ) ( retry ) ( retry ) ( retry ) ( retry ) ( retry )")
    assert set(told.split()) == {"(", ")", "retry"}
    assert "retry retry" not in told
    found = [found_in for found_in, _ in lookups(run)]
    assert found == ["tree"] + ["vcpu"] * (len(found) - 1)
    assert run.made.vcpus[0].made == 0


# While a slot is deleted.


def delete_while_touched(kind: type[Vcpu] = Vcpu) -> object:
    """A vCPU that reads a page while its slot is deleted."""

    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu(kind=kind)

        async def run() -> None:
            await vcpu.run([READ], None)

        async def write() -> None:
            await world.update.set_memory_region(deletion())
            await vcpu.kick_out()

        scheduler.task("vcpu0", run)
        scheduler.task("writer", write)

    return populate


@pytest.mark.slow
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
        told = [word for word in story(run).split() if word not in {"(", ")", "fixed"}]
        order = ["READ", "retry", "mmio"]
        assert told == sorted(told, key=order.index)
        seen.update(told)
        flags = {
            (event.slot.serial, event.slot.flags)
            for _, _, event in run.records
            if isinstance(event, SlotLookedUp) and event.slot is not None
        }
        assert flags <= {(1, 0), (2, INVALID)}
    assert all(seen[outcome] > 20 for outcome in ("READ", "retry", "mmio"))


class Stubborn(Vcpu):
    """Retries a fault without going back to the guest, so its section never ends."""

    async def handle_access(self, access: Access) -> bool:
        outcome = Outcome.RETRY
        while outcome is Outcome.RETRY:
            outcome = await self.faults.handle(self, access.gpa, write=False)
        return outcome is Outcome.MMIO


@pytest.mark.slow
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
                    budget=3_000,
                )
            ).report.ending
            for seed in range(30)
        ]
    )
    assert set(endings) == {Ending.COMPLETED, Ending.BUDGET}


# Processors.


async def test_a_migration_happens_inside_the_section(pool: TaskPool) -> None:
    run = await run_vcpu(pool, [access(AccessKind.MIGRATE, 0x10)], 1, SLOT, cpus=2)
    assert story(run) == "( ) ( )"
    first, second = run.made.vm.srcu.cpus
    # The task begins on the second processor; it leaves its last section on the first.
    assert (sum(first.lock_count), sum(first.unlock_count)) == (0, 1)
    assert (sum(second.lock_count), sum(second.unlock_count)) == (2, 1)


async def test_migrations_go_round_the_processors(pool: TaskPool) -> None:
    run = await run_vcpu(pool, [access(AccessKind.MIGRATE, 0x10)], 6, SLOT, cpus=3)
    cpus = run.made.vm.srcu.cpus
    locks = [sum(cpu.lock_count) for cpu in cpus]
    unlocks = [sum(cpu.unlock_count) for cpu in cpus]
    assert (locks, unlocks) == ([2, 3, 2], [2, 3, 2])
    assert sum(locks) == sum(unlocks) == 7


async def test_a_migration_is_waited_for_like_any_reader(pool: TaskPool) -> None:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()

        async def migrate() -> None:
            await vcpu.run([access(AccessKind.MIGRATE, 0x10)], 8)

        async def write() -> None:
            await world.update.set_memory_region(deletion())

        scheduler.task("vcpu0", migrate)
        scheduler.task("writer", write)

    for seed in range(100):
        run = await run_world(pool, populate, SLOT, strategy=RandomWalk(seed), cpus=3)
        assert run.report.ending is Ending.COMPLETED


# Kicks.


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
    assert run.made.vcpus[0].made == 0


async def test_a_vcpu_that_is_kicked_ends_its_exit_and_leaves(pool: TaskPool) -> None:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()

        async def go_on() -> None:
            await vcpu.run([READ], None)
            assert vcpu.srcu_idx is None
            assert vcpu.mode is Mode.OUTSIDE_GUEST_MODE

        scheduler.task("vcpu0", go_on)
        scheduler.task("main", vcpu.kick_out)

    for seed in range(50):
        run = await run_world(pool, populate, SLOT, strategy=RandomWalk(seed))
        assert run.report.ending is Ending.COMPLETED
        told = story(run)
        assert told.startswith("( ) ")
        assert told.endswith("( )")
        assert told.count("READ") == run.made.vcpus[0].made


async def test_a_vcpu_that_left_can_run_again(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        await vcpu.kick_out()
        await vcpu.run([READ], None)
        vcpu.must_exit = False
        await vcpu.run([READ], 2)
        assert vcpu.made == 2

    run = await run_alone(pool, body, SLOT)
    assert story(run, "alone") == "( ) ( ) ( ) ( fixed ) READ READ ( )"
