"""Arch data that is allocated while slots change is neither lost nor left out."""

from __future__ import annotations

import attrs
import pytest

from memslots.slot import MemorySlot
from memslots.update import Update
from memslots.vm import Vm
from rcu.reclaim import is_reclaimed
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Task
from scenarios.machine import Machine, Parts
from scenarios.scenario import Scenario
from scenarios.scenario_file import parse_scenario
from scenarios.strategies.random_walk import RandomWalk
from tests.support.running import Run, run_controlled
from vcpus.arch_x86 import ArchX86
from vcpus.shadow_roots import Rmaps, ShadowRoots, SlotArchX86

ALLOCATE_DURING_CHANGES = """
schema = 1
name = "allocate-during-changes"
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x1000
userspace_addr = 0x7f0000000000
[[slots]]
slot = 1
guest_phys_addr = 0x10000
memory_size = 0x2000
userspace_addr = 0x7f0000100000
[[allocators]]
name = "nested"
[[readers]]
name = "reader"
accesses = [{ gpa = 0x0 }, { gpa = 0x10000 }]
repeat = 3
[[writers]]
name = "vmm"
calls = [
  # flags
  { slot = 1, guest_phys_addr = 0x10000, memory_size = 0x2000, \
userspace_addr = 0x7f0000100000, flags = ["log-dirty-pages"], expect = "ok" },
  # move
  { slot = 1, guest_phys_addr = 0x20000, memory_size = 0x2000, \
userspace_addr = 0x7f0000100000, expect = "ok" },
  # move behind the last gfn: it fails when the slot is INVALID already
  { slot = 1, guest_phys_addr = 0x10000000000000, memory_size = 0x2000, \
userspace_addr = 0x7f0000100000, expect = "EINVAL" },
  # create
  { slot = 2, guest_phys_addr = 0x40000, memory_size = 0x1000, \
userspace_addr = 0x7f0000200000, expect = "ok" },
  # delete
  { slot = 1, guest_phys_addr = 0x0, memory_size = 0x0, \
userspace_addr = 0x0, expect = "ok" },
]
"""
SCENARIO = parse_scenario(ALLOCATE_DURING_CHANGES, "allocate-during-changes")


class RememberingRoots(ShadowRoots):
    """Keeps everything that was ever allocated."""

    def __init__(self, vm: Vm) -> None:
        super().__init__(vm)
        self.made: list[Rmaps] = []

    def allocate_rmaps(self, slot: MemorySlot) -> None:
        had = isinstance(slot.arch, SlotArchX86) and slot.arch.rmaps is not None
        super().allocate_rmaps(slot)
        assert isinstance(slot.arch, SlotArchX86)
        assert slot.arch.rmaps is not None
        if not had:
            self.made.append(slot.arch.rmaps)


class DereferencesEarly(RememberingRoots):
    """Reads the pointer to the set before it has the lock."""

    async def first_alloc(self) -> None:
        vm = self.vm
        slots = await vm.active(0).dereference()
        async with vm.slots_arch_lock:
            for slot in list(slots):
                await self._scheduler.point(vm.arch_data.write)
                self.allocate(slot)
            await self._scheduler.point(self.location.write)
            self.allocated = True


class LosesArchData(Update):
    """Does not take over what was allocated while ``slots_arch_lock`` was free."""

    def resync_arch(self, old: MemorySlot, invalid: MemorySlot) -> None:
        pass


class Watched:
    """A random walk that looks at the VM before each step."""

    patience = 0

    def __init__(self, seed: int) -> None:
        self._walk = RandomWalk(seed)
        self.machines: list[Machine] = []
        self.lacking = 0

    def begin(self, tasks: list[Task]) -> None:
        self._walk.begin(tasks)

    def pick(self, current: Task, ready: list[Task]) -> Task:
        self.lacking += bool(lacking(self.machines[0]))
        return self._walk.pick(current, ready)


def roots_of(machine: Machine) -> RememberingRoots:
    arch = machine.vm.arch
    assert isinstance(arch, ArchX86)
    assert isinstance(arch.shadow_roots, RememberingRoots)
    return arch.shadow_roots


def lacking(machine: Machine) -> list[MemorySlot]:
    """Slots of the active set that have no reverse maps although all should."""
    if not roots_of(machine).allocated:
        return []
    return [
        slot
        for slot in machine.vm.active(0).peek()
        if not isinstance(slot.arch, SlotArchX86)
        or slot.arch.rmaps is None
        or is_reclaimed(slot.arch.rmaps)
    ]


def leaked(machine: Machine) -> list[Rmaps]:
    """Reverse maps that are not freed although no slot has them."""
    owned = [
        slot.arch.rmaps
        for slot in machine.vm.active(0).peek()
        if isinstance(slot.arch, SlotArchX86)
    ]
    return [
        maps
        for maps in roots_of(machine).made
        if not is_reclaimed(maps) and not any(maps is each for each in owned)
    ]


@attrs.frozen
class Seen:
    """What became of one run.

    Attributes:
        during: In how many steps a slot that readers find had no reverse maps.
        after: How many slots have none at the end.
        leaked: How many reverse maps nobody has and nobody freed.
    """

    during: int
    after: int
    leaked: int


FLAGS, MOVE, MOVE_TOO_FAR, CREATE, DELETE = range(5)


def only(*calls: int) -> Scenario:
    """The scenario with some of its calls only."""
    (writer,) = SCENARIO.writers
    chosen = tuple(writer.calls[call] for call in calls)
    return attrs.evolve(SCENARIO, writers=(attrs.evolve(writer, calls=chosen),))


async def run_seed(
    pool: TaskPool, parts: Parts, seed: int, scenario: Scenario = SCENARIO
) -> Seen:
    strategy = Watched(seed)

    def build(scheduler: Scheduler) -> Machine:
        strategy.machines.append(Machine(scenario, scheduler, parts=parts))
        return strategy.machines[0]

    run: Run[Machine] = await run_controlled(pool, strategy, build, cpus=2)
    assert run.report.ending is Ending.COMPLETED, run.report
    machine = run.made
    assert roots_of(machine).allocated
    return Seen(strategy.lacking, len(lacking(machine)), len(leaked(machine)))


async def test_every_slot_that_readers_find_has_its_reverse_maps(
    pool: TaskPool,
) -> None:
    parts = Parts(shadow_roots=RememberingRoots)
    for seed in range(200):
        assert await run_seed(pool, parts, seed) == Seen(0, 0, 0)


@pytest.mark.parametrize("call", [FLAGS, MOVE, MOVE_TOO_FAR, CREATE, DELETE])
async def test_no_single_change_loses_or_leaks_a_reverse_map(
    pool: TaskPool, call: int
) -> None:
    parts = Parts(shadow_roots=RememberingRoots)
    for seed in range(40):
        assert await run_seed(pool, parts, seed, only(call)) == Seen(0, 0, 0)


async def test_an_allocator_that_dereferences_early_leaves_a_slot_without(
    pool: TaskPool,
) -> None:
    parts = Parts(shadow_roots=DereferencesEarly)
    seen = [await run_seed(pool, parts, seed, only(CREATE)) for seed in range(200)]
    assert any(each.during for each in seen)
    assert any(each.after for each in seen)


async def test_an_update_that_does_not_resync_leaves_a_slot_without_and_leaks(
    pool: TaskPool,
) -> None:
    parts = Parts(shadow_roots=RememberingRoots, update=LosesArchData)
    moves = only(MOVE_TOO_FAR)
    seen = [await run_seed(pool, parts, seed, moves) for seed in range(200)]
    assert any(each.during for each in seen)
    assert any(each.after for each in seen)
    assert any(each.leaked for each in seen)
    deletes = only(DELETE)
    seen = [await run_seed(pool, parts, seed, deletes) for seed in range(200)]
    assert any(each.leaked for each in seen)
    assert not any(each.after for each in seen)


@pytest.mark.parametrize("count", [1, 3])
async def test_several_allocators_allocate_once(pool: TaskPool, count: int) -> None:
    allocators = tuple(
        attrs.evolve(SCENARIO.allocators[0], name=f"nested{n}") for n in range(count)
    )
    scenario = attrs.evolve(SCENARIO, allocators=allocators, writers=())

    def build(scheduler: Scheduler) -> Machine:
        return Machine(scenario, scheduler, parts=Parts(shadow_roots=RememberingRoots))

    for seed in range(50):
        run = await run_controlled(pool, RandomWalk(seed), build, cpus=2)
        assert run.report.ending is Ending.COMPLETED
        assert len(roots_of(run.made).made) == 2
        assert lacking(run.made) == []
