"""A scenario, a strategy and checkers make a run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import attrs
import pytest
import trio

from memslots.arch import PlainArch
from memslots.region import Change
from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.update import Update
from rcu.errors import RuleBroken, SimulatorBug
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import open_pool
from rcu.schedule.report import Ending
from scenarios.checkers.judge import Verdict
from scenarios.machine import Machine, Parts
from scenarios.mutants.families import srcu as broken_srcu
from scenarios.planner import plan_for
from scenarios.runner import Plan, digest_of, run, run_in_trio
from scenarios.scenario_file import parse_scenario
from scenarios.strategies.random_walk import RandomWalk
from tests.protocol import broken_parts as broken
from tests.protocol.small_scenarios import small_scenarios
from vcpus.shadow_roots import ShadowRoots

SWAP = plan_for("dual-set-swap")
SMALL = Plan(scenario=small_scenarios()["first-shadow-root"])


class MyRule(RuleBroken):
    """A rule that the checkers here do not know."""

    checker = "my-rule"


class BreaksMyRule(Update):
    text = "as I say\nand more"

    async def publish(self, as_id: int, slots: Memslots) -> None:
        raise MyRule(self.text)


class BreaksMyRuleSilently(BreaksMyRule):
    text = ""


class EditsTwice(Update):
    async def edit(
        self, slots: Memslots, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        await super().edit(slots, old, new)
        await super().edit(slots, old, new)


class FindsABugOfOurs(Update):
    async def publish(self, as_id: int, slots: Memslots) -> None:
        raise SimulatorBug("not the model's fault")


@pytest.mark.parametrize("mode", ["controlled", "trio"])
def test_the_catalogues_protocol_scenario_exercises_what_it_is_about(mode: str) -> None:
    result = run(attrs.evolve(SWAP, mode=mode))
    judgement = result.judgement
    assert (judgement.verdict, judgement.reasons) == (Verdict.HOLDS, ())
    wanted = SWAP.scenario.must_exercise
    assert all(judgement.checkers[id_].exercised for id_ in wanted)
    assert judgement.calls == 14
    assert result.report.ending is Ending.COMPLETED
    assert result.tasks == (
        "kvm->srcu-gp",
        "vcpu0",
        "vcpu1",
        "vcpu2",
        "hotplug",
        "migration",
        "debugfs",
        "nested",
        "main",
    )
    assert len(result.order) == result.report.steps
    assert set(result.order) == set(range(9))


async def test_what_a_run_shows_does_not_depend_on_the_runs_before_it() -> None:
    before = [
        attrs.evolve(SWAP, parts=Parts(faults=broken.FaultsOutsideTheSection)),
        attrs.evolve(SMALL, seed=5, parts=Parts(update=broken.KeepsArchLock)),
        attrs.evolve(SWAP, scenario=attrs.evolve(SWAP.scenario, budget=700)),
        plan_for("q35-boot", vcpus=12),
    ]
    async with open_pool() as pool:
        alone = await run_in_trio(SWAP, pool)
        for plan in before:
            await run_in_trio(plan, pool)
            after = await run_in_trio(SWAP, pool)
            assert (after.order, after.judgement) == (alone.order, alone.judgement)


def test_progress_is_told_in_steps() -> None:
    told: list[int] = []
    result = run(plan_for("q35-boot", vcpus=8), on_progress=told.append)
    assert len(told) > 1
    assert told == sorted(told)
    assert 0 < told[0] < result.report.steps
    assert told[-1] <= result.report.steps


def test_a_run_that_uses_up_its_budget_is_inconclusive() -> None:
    scenario = attrs.evolve(SWAP.scenario, budget=700)
    result = run(attrs.evolve(SWAP, scenario=scenario))
    assert result.report.steps == 700
    assert result.judgement.verdict is Verdict.INCONCLUSIVE
    assert result.judgement.reasons[0] == "the run is not whole: step budget used up"


@pytest.mark.parametrize("mode", ["controlled", "trio"])
@pytest.mark.parametrize(
    ("update", "seen"),
    [(BreaksMyRule, "MyRule: as I say"), (BreaksMyRuleSilently, "MyRule: ")],
)
def test_a_rule_of_the_users_own_is_a_violation(
    mode: str, update: type[Update], seen: str
) -> None:
    result = run(attrs.evolve(SMALL, mode=mode, parts=Parts(update=update)))
    assert result.report.ending is Ending.FAILED
    assert result.judgement.verdict is Verdict.VIOLATION
    (violation,) = result.judgement.violations
    assert (violation.checker, violation.actor) == ("my-rule", "hotplug")
    assert violation.seen == seen


def test_a_broken_structure_is_a_violation() -> None:
    result = run(attrs.evolve(SMALL, parts=Parts(update=EditsTwice)))
    assert result.report.ending is Ending.FAILED
    released, broken_set = result.judgement.violations
    assert {released.checker, broken_set.checker} == {"sets-converge"}
    assert released.seen.startswith("slots_lock was released while slot #2 is in set 1")
    assert broken_set.seen.startswith("StructureBroken: ")
    assert "\n" not in broken_set.seen


@pytest.mark.parametrize("mode", ["controlled", "trio"])
def test_a_bug_of_ours_is_no_finding(mode: str) -> None:
    plan = attrs.evolve(SMALL, mode=mode, parts=Parts(update=FindsABugOfOurs))
    with pytest.raises(SimulatorBug, match="not the model's fault"):
        run(plan)


def test_a_run_inside_trio_needs_no_trio_of_its_own() -> None:
    async def both() -> bool:
        async with open_pool() as pool, trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            result = await run_in_trio(SMALL, pool)
            return result.judgement.verdict is Verdict.HOLDS

    assert trio.run(both)


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"slots")
    assert digest_of(path) == hashlib.sha256(b"slots").hexdigest()


# Parts: what the user names is what is built.


class OtherArch(PlainArch):
    """An architecture without shadow roots."""


class OtherRoots(ShadowRoots):
    """Shadow roots of somebody's own."""


class CountingUpdate(Update):
    calls = 0

    async def set_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        CountingUpdate.calls += 1
        await super().set_memslot(old, new, change)


def machine(parts: Parts) -> Machine:
    scheduler = ControlledScheduler(RandomWalk(0))
    return Machine(SWAP.scenario, scheduler, parts=parts)


def test_named_parts_are_used() -> None:
    made = machine(
        Parts(
            update=CountingUpdate, srcu=broken_srcu.SkipsTheFirstScan, arch=OtherArchOf
        )
    )
    assert type(made.update) is CountingUpdate
    assert type(made.vm.srcu) is broken_srcu.SkipsTheFirstScan
    assert type(made.vm.arch) is OtherArch
    run(attrs.evolve(SMALL, parts=Parts(update=CountingUpdate)))
    assert CountingUpdate.calls == 2


def OtherArchOf(vm: object, **parts: object) -> OtherArch:  # noqa: N802 - stands for a class
    return OtherArch()


def test_shadow_roots_of_the_users_own_are_those_of_the_architecture() -> None:
    own = machine(Parts(shadow_roots=OtherRoots))
    assert type(own.shadow_roots) is OtherRoots
    assert own.shadow_roots is getattr(own.vm.arch, "shadow_roots", None)
    default = machine(Parts())
    assert type(default.shadow_roots) is ShadowRoots
    assert default.shadow_roots is getattr(default.vm.arch, "shadow_roots", None)
    plain = machine(Parts(arch=OtherArchOf, shadow_roots=OtherRoots))
    assert type(plain.shadow_roots) is OtherRoots


def test_a_scenario_without_tasks_shows_nothing() -> None:
    scenario = parse_scenario('schema = 1\nname = "empty"\n', "empty")
    judgement = run(Plan(scenario=scenario)).judgement
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reasons == ("no checker was exercised",)


def test_two_address_spaces_number_their_generations_apart() -> None:
    scenario = parse_scenario(
        """
schema = 1
name = "smm"
address_spaces = 2
must_exercise = ["generation-unique", "consistent-set", "sets-converge"]
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x4000
userspace_addr = 0x7f0000000000
[[slots]]
slot = 0x10000
guest_phys_addr = 0x0
memory_size = 0x8000
userspace_addr = 0x7f0000100000
[[vcpus]]
count = 2
times = 10
until_writers_return = true
accesses = [{ kind = "read", gpa = 0x1000 }, { kind = "write", gpa = 0x6000 }]
[[vcpus]]
count = 2
times = 10
until_writers_return = true
address_space = 1
accesses = [{ kind = "read", gpa = 0x1000 }, { kind = "write", gpa = 0x6000 }]
[[writers]]
name = "one"
repeat = 3
calls = [
  { slot = 1, guest_phys_addr = 0x6000, memory_size = 0x1000, \
userspace_addr = 0x7f0000200000, expect = "ok" },
  { slot = 1, guest_phys_addr = 0x0, memory_size = 0x0, userspace_addr = 0x0, \
expect = "ok" },
]
[[writers]]
name = "two"
repeat = 3
calls = [
  { slot = 0x10000, guest_phys_addr = 0x1000, memory_size = 0x8000, \
userspace_addr = 0x7f0000100000, expect = "ok" },
  { slot = 0x10000, guest_phys_addr = 0x0, memory_size = 0x8000, \
userspace_addr = 0x7f0000100000, expect = "ok" },
]
""",
        "smm",
    )
    for seed in range(10):
        judgement = run(Plan(scenario=scenario, seed=seed)).judgement
        assert (judgement.verdict, judgement.reasons) == (Verdict.HOLDS, ())
        assert judgement.calls == 12
