"""Every step of the array protocol is needed, and who leaves one out is caught."""

from __future__ import annotations

import attrs
import pytest

from memslots.arrays.array_update import ArrayUpdate
from memslots.arrays.array_vm import ArrayVm
from memslots.tracepoints import ArchDataCopied
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from scenarios.checkers.judge import Judge, Verdict
from scenarios.kinds import with_memslots
from scenarios.machine import Machine, Parts
from scenarios.plan import Plan
from scenarios.planner import plan_for
from scenarios.runner import RunResult, run_in_trio
from tests.memslots.arrays import broken
from tests.memslots.arrays.scenarios import copied_arrays
from tests.protocol.turns import Turn, Turns
from tests.support.running import Run, run_controlled

ENOUGH = 200
"""Seeds after which a search gives up."""


@attrs.frozen(kw_only=True)
class Case:
    """A broken protocol.

    Attributes:
        name: What is wrong with it.
        parts: Of what a machine is built that is broken in this way.
        seen: A piece of what each checker says that catches it.
    """

    name: str
    update: type[ArrayUpdate] = ArrayUpdate
    vm: type[ArrayVm] = ArrayVm
    seen: dict[str, str]

    @property
    def plan(self) -> Plan:
        parts = Parts(vm=self.vm, update=self.update)
        return Plan(scenario=copied_arrays(), parts=parts)


CASES = (
    Case(
        name="an array is freed, and used again, before the grace period",
        update=broken.WaitsForNobody,
        seen={
            "no-use-after-free": " is freed while reader, who got hold of it, is in",
            "retired-set-quiet": "is edited while reader, who got hold of it, is in",
        },
    ),
    Case(
        name="the copy is made without slots_arch_lock",
        update=broken.CopiesTooSoon,
        seen={"lock-order": "LockNotHeld: vmm does not hold slots_arch_lock"},
    ),
    Case(
        name="the copy is made without slots_arch_lock, and nobody looks",
        update=broken.CopiesTooSoonUnseen,
        seen={"arch-data-kept": " was published without the rmap of slot #1, which"},
    ),
    Case(
        name="arrays are not freed",
        update=broken.FreesNothing,
        seen={"sets-converge": "slots_lock was released while set 0 is left over"},
    ),
    Case(
        name="the generation is not marked",
        update=broken.ForgetsTheMark,
        seen={
            "generation-unique": "without the mark that an update is in progress",
        },
    ),
    Case(
        name="a pointer is kept while arrays change",
        update=broken.KeepsAPointer,
        seen={"no-use-after-free": "UseAfterFree: flags of slot 1 #2 in set 0 of"},
    ),
    Case(
        name="last_used_slot is not reset",
        vm=broken.ForgetfulVm,
        seen={
            "no-use-after-free": "OutOfArray: entry 1 of set 1 of address space 0 was"
            " read, which has 1",
        },
    ),
)


def caught_by(result: RunResult) -> dict[str, str]:
    """Who caught it, and what it said."""
    seen: dict[str, str] = {}
    for violation in result.judgement.violations:
        so_far = seen.get(violation.checker, "")
        seen[violation.checker] = f"{so_far}{violation.seen}\n"
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_broken_protocol_is_caught(pool: TaskPool, case: Case) -> None:
    left = dict(case.seen)
    for seed in range(ENOUGH):
        seen = caught_by(await run_in_trio(attrs.evolve(case.plan, seed=seed), pool))
        for checker, text in [*left.items()]:
            if text in seen.get(checker, ""):
                del left[checker]
        if not left:
            break
    assert left == {}


async def assert_holds(pool: TaskPool, plan: Plan) -> None:
    judgement = (await run_in_trio(plan, pool)).judgement
    assert (judgement.verdict, judgement.violations, judgement.mismatches) == (
        Verdict.HOLDS,
        (),
        (),
    )


@pytest.mark.slow
async def test_the_whole_protocol_survives_as_many_seeds(pool: TaskPool) -> None:
    plan = with_memslots(Plan(scenario=copied_arrays()), "array")
    for seed in range(ENOUGH):
        await assert_holds(pool, attrs.evolve(plan, seed=seed))


@pytest.mark.slow
async def test_what_runs_on_trees_runs_on_arrays(pool: TaskPool) -> None:
    swap = with_memslots(plan_for("dual-set-swap"), "array")
    for seed in range(51):
        await assert_holds(pool, attrs.evolve(swap, seed=seed))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["controlled", "trio"])
@pytest.mark.parametrize("name", ["dual-set-swap", "q35-boot"])
async def test_in_either_mode(pool: TaskPool, name: str, mode: str) -> None:
    await assert_holds(pool, with_memslots(plan_for(name, mode=mode), "array"))


# One order, told step by step: arch data is allocated while a slot is INVALID.


async def allocate_in_the_window(
    pool: TaskPool, update: type[ArrayUpdate]
) -> Run[Machine]:
    turns = Turns()

    def build(scheduler: Scheduler) -> Machine:
        parts = Parts(vm=ArrayVm, update=update)
        machine = Machine(copied_arrays(), scheduler, parts=parts)
        vm = machine.vm
        nested = next(task for task in scheduler.tasks if task.name == "nested")
        writer = ("vmm", "kvm->srcu-gp")
        turns.left += [
            # The change of flags, and then the first half of the move.
            Turn(writer, lambda: vm.active(0).peek().node_idx == 1),
            Turn(writer, lambda: vm.active(0).peek().node_idx == 2),
            Turn(writer, vm.slots_arch_lock.is_free),
            Turn(("nested",), lambda: nested.finished),
        ]
        return machine

    return await run_controlled(pool, turns, build, cpus=2)


def judged(run: Run[Machine]) -> list[str]:
    judge = Judge()
    judge.read(run.records)
    return [f"{each.checker}: {each.seen}" for each in judge.conclude().violations]


async def test_arch_data_from_the_window_is_taken_over(pool: TaskPool) -> None:
    run = await allocate_in_the_window(pool, ArrayUpdate)
    assert judged(run) == []
    assert any(isinstance(event, ArchDataCopied) for _, _, event in run.records)


async def test_arch_data_from_the_window_is_missed_if_it_is_not(pool: TaskPool) -> None:
    seen = judged(await allocate_in_the_window(pool, broken.ResyncsNothing))
    missed = "arch-data-kept: set 1 was published without the rmap of slot #1, which"
    assert any(each.startswith(missed) for each in seen)
