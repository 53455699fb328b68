"""Every step of the protocol is needed: who leaves one out is caught, and by whom."""

from __future__ import annotations

import attrs
import pytest

from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from scenarios.checkers.judge import Verdict
from scenarios.machine import Parts
from scenarios.mutants.families import srcu as broken_srcu
from scenarios.planner import plan_for
from scenarios.runner import Plan, RunResult, run_in_trio
from tests.protocol import broken_parts as broken
from tests.protocol.small_scenarios import small_scenarios

ENOUGH = 1_000
"""Seeds after which a search gives up."""

BUDGET = 40_000
"""Steps after which a run is stopped: whole ones make a fifth of it."""


@attrs.frozen(kw_only=True)
class Case:
    """A broken protocol.

    Attributes:
        name: What is wrong with it.
        parts: Of what a machine is built that is broken in this way.
        scenario: Where it shows.
        found_at: The first seed at which a checker catches it, by checker.
        seen: A piece of what the checker says then.
    """

    name: str
    parts: Parts
    scenario: str = "dual-set-swap"
    found_at: dict[str, int]
    seen: dict[str, str]


CASES = (
    Case(
        name="synchronize is skipped",
        parts=Parts(update=broken.WaitsForNobody),
        found_at={"retired-set-quiet": 0},
        seen={"retired-set-quiet": "is edited while vcpu"},
    ),
    Case(
        name="slots are freed before the grace period",
        parts=Parts(update=broken.FreesFirst),
        found_at={"no-use-after-free": 1},
        seen={"no-use-after-free": " is freed while vcpu"},
    ),
    Case(
        name="the active set is edited",
        parts=Parts(update=broken.EditsTheActiveSet),
        found_at={"retired-set-quiet": 0},
        seen={"retired-set-quiet": "set 0 is edited while it is active"},
    ),
    Case(
        name="slots_arch_lock is held through the grace period",
        parts=Parts(update=broken.KeepsArchLock),
        scenario="first-shadow-root",
        found_at={"lock-order": 0, "deadlock": 5},
        seen={
            "lock-order": "the order has a circle: ",
            "deadlock": "nested waits for ever to acquire slots_arch_lock, which"
            " hotplug holds; it is in a section of kvm->srcu",
        },
    ),
    Case(
        name="the first scan is left out",
        parts=Parts(srcu=broken_srcu.SkipsTheFirstScan, memory=broken.ReadsFivePages),
        scenario="late-reader",
        found_at={"grace-period": 44, "retired-set-quiet": 125},
        seen={
            "grace-period": "but reader is still in the section of kvm->srcu",
            "retired-set-quiet": "is edited while reader, who got hold of it, is in",
        },
    ),
    Case(
        name="the second scan is left out",
        parts=Parts(srcu=broken_srcu.SkipsTheSecondScan),
        found_at={"grace-period": 0},
        seen={"grace-period": "is still in the section of kvm->srcu"},
    ),
    Case(
        name="locks are summed before unlocks",
        parts=Parts(srcu=broken_srcu.SumsLocksFirst, memory=broken.ReadsTwentyPages),
        scenario="long-and-short-reader",
        found_at={"grace-period": 0},
        seen={"grace-period": "but long is still in the section of kvm->srcu"},
    ),
    Case(
        name="the second set is forgotten",
        parts=Parts(update=broken.ForgetsTheOtherSet),
        found_at={"sets-converge": 0},
        seen={"sets-converge": "slots_lock was released while slot #"},
    ),
    Case(
        name="the generation is not marked",
        parts=Parts(update=broken.ForgetsTheMark),
        found_at={"generation-unique": 0},
        seen={
            "generation-unique": "without the mark that an update is in progress",
        },
    ),
    Case(
        name="last_used_slot is not repaired",
        parts=Parts(update=broken.ForgetsTheCache),
        found_at={"no-use-after-free": 0},
        seen={"no-use-after-free": "UseAfterFree: base_gfn of slot "},
    ),
    Case(
        name="a reader is in no section",
        parts=Parts(faults=broken.FaultsOutsideTheSection),
        found_at={"no-use-after-free": 0},
        seen={
            "no-use-after-free": " dereferences memslots[0] outside a read section of"
            " kvm->srcu"
        },
    ),
    Case(
        name="slots_lock is taken inside a section",
        parts=Parts(shadow_roots=broken.TakesSlotsLock),
        scenario="first-shadow-root",
        found_at={"deadlock": 0, "lock-order": 1},
        seen={
            "deadlock": "nested waits for ever to acquire slots_lock, which hotplug"
            " holds; it is in a section of kvm->srcu",
            "lock-order": "slots_lock was acquired in a section of kvm->srcu",
        },
    ),
)


def plan_of(case: Case) -> Plan:
    scenario = small_scenarios().get(case.scenario)
    plan = plan_for("dual-set-swap") if scenario is None else Plan(scenario=scenario)
    scenario = attrs.evolve(plan.scenario, budget=BUDGET)
    return attrs.evolve(plan, scenario=scenario, parts=case.parts)


def caught_by(result: RunResult) -> dict[str, str]:
    """Who caught it, and what it said."""
    seen: dict[str, str] = {}
    for violation in result.judgement.violations:
        so_far = seen.get(violation.checker, "")
        seen[violation.checker] = f"{so_far}{violation.seen}\n"
    assert (result.judgement.verdict is Verdict.VIOLATION) is bool(seen)
    return seen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_broken_protocol_is_caught(pool: TaskPool, case: Case) -> None:
    plan = plan_of(case)
    found_at: dict[str, int] = {}
    for seed in range(ENOUGH):
        seen = caught_by(await run_in_trio(attrs.evolve(plan, seed=seed), pool))
        for checker in seen.keys() & case.found_at.keys() - found_at.keys():
            assert case.seen[checker] in seen[checker]
            found_at[checker] = seed
        if len(found_at) == len(case.found_at):
            break
    assert found_at == case.found_at


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_finding_happens_again_by_its_seed_and_by_its_order(
    pool: TaskPool, case: Case
) -> None:
    plan = attrs.evolve(plan_of(case), seed=min(case.found_at.values()))
    first = await run_in_trio(plan, pool)
    again = await run_in_trio(plan, pool)
    replayed = await run_in_trio(plan, pool, order=list(first.order))
    assert first.judgement.violations
    assert again.judgement == first.judgement
    assert again.order == first.order
    assert replayed.judgement == first.judgement
    assert replayed.order == first.order


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.scenario != "dual-set-swap"],
    ids=lambda case: case.name,
)
async def test_the_whole_protocol_survives_the_seeds_at_which_a_broken_one_fails(
    pool: TaskPool, case: Case
) -> None:
    plan = attrs.evolve(plan_of(case), parts=Parts(memory=case.parts.memory))
    for seed in range(max(case.found_at.values()) + 1):
        result = await run_in_trio(attrs.evolve(plan, seed=seed), pool)
        assert caught_by(result) == {}
        assert result.judgement.verdict is Verdict.HOLDS
        assert result.report.ending is Ending.COMPLETED


async def dual_set_swap_holds(pool: TaskPool, seeds: range) -> None:
    plan = plan_for("dual-set-swap")
    for seed in seeds:
        result = await run_in_trio(attrs.evolve(plan, seed=seed), pool)
        judgement = result.judgement
        assert (judgement.verdict, judgement.reasons, judgement.mismatches) == (
            Verdict.HOLDS,
            (),
            (),
        )
        assert result.report.steps < BUDGET / 4


async def test_the_whole_protocol_survives_two_hundred_seeds(pool: TaskPool) -> None:
    found = [case for case in CASES if case.scenario == "dual-set-swap"]
    assert max(seed for case in found for seed in case.found_at.values()) < 200
    await dual_set_swap_holds(pool, range(200))


@pytest.mark.slow
async def test_the_whole_protocol_survives_a_thousand_seeds(pool: TaskPool) -> None:
    await dual_set_swap_holds(pool, range(200, ENOUGH))


@pytest.mark.parametrize("run", range(5))
async def test_the_whole_protocol_survives_the_orders_of_trio(
    pool: TaskPool, run: int
) -> None:
    plan = attrs.evolve(plan_for("dual-set-swap"), mode="trio")
    judgement = (await run_in_trio(plan, pool)).judgement
    assert judgement.violations == ()
    assert judgement.mismatches == ()
