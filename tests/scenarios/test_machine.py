"""The tasks of a scenario do what it says, and whatever can be written can be run."""

from __future__ import annotations

import pytest

from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import open_pool
from rcu.schedule.report import Ending, Report
from scenarios.errors import InputError
from scenarios.machine import Machine
from scenarios.plan import Plan
from scenarios.runner import run
from scenarios.scenario import Scenario
from scenarios.scenario_file import parse_scenario
from scenarios.strategies.random_walk import RandomWalk
from tests.support.authoring import Author, document

HEADER = 'schema = 1\nname = "x"\nbudget = 20_000\n'
SLOT = """
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x4000
userspace_addr = 0x7f0000000000
"""
LOGGED = f"""{SLOT}flags = ["log-dirty-pages"]
"""
TOGGLE = """
[[writers]]
name = "w"
calls = [
  { slot = 0, guest_phys_addr = 0x0, memory_size = 0x4000, \
userspace_addr = 0x7f0000000000, flags = ["log-dirty-pages"] },
]
"""


def scenario(*parts: str) -> Scenario:
    return parse_scenario(HEADER + "".join(parts), "x")


async def run_machine(made: Scenario, seed: int = 0) -> tuple[Machine, Report]:
    """Run a scenario without checkers."""
    scheduler = ControlledScheduler(
        RandomWalk(seed), cpus=made.cpus, budget=made.budget
    )
    machine = Machine(made, scheduler)
    async with open_pool() as pool:
        return machine, await pool.run(scheduler)


# vCPUs.


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("persistent", ["true", "false"])
async def test_each_vcpu_makes_its_accesses_and_then_leaves(
    persistent: str, seed: int
) -> None:
    vcpus = f"""
[[vcpus]]
count = 3
times = 7
until_writers_return = {persistent}
accesses = [{{ kind = "read", gpa = 0x0, pages = 5 }}]
"""
    machine, report = await run_machine(scenario(SLOT, TOGGLE, vcpus), seed)
    assert report.ending is Ending.COMPLETED
    made = [vcpu.made for vcpu in machine.vcpus]
    if persistent == "true":
        assert min(made) >= 7
    else:
        assert made == [7, 7, 7]
    assert [vcpu.srcu_idx for vcpu in machine.vcpus] == [None] * 3


async def test_the_nth_vcpu_starts_n_accesses_further() -> None:
    vcpus = """
[[vcpus]]
count = 3
accesses = [{ kind = "write", gpa = 0x0, pages = 2 }, { kind = "halt" }]
"""
    machine, report = await run_machine(scenario(SLOT, vcpus))
    assert report.ending is Ending.DEADLOCK
    # The third one halts at once, and nobody is there to wake it.
    assert [vcpu.made for vcpu in machine.vcpus] == [1, 1, 0]
    assert [each.task for each in report.stuck] == ["vcpu2"]
    assert machine.host._page(0x7F00_0000_1000).value == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
async def test_a_vcpu_that_sleeps_does_not_keep_the_others_from_ending(
    seed: int,
) -> None:
    vcpus = """
[[vcpus]]
times = 100
until_writers_return = true
accesses = [{ kind = "read", gpa = 0x0 }, { kind = "halt" }]
"""
    machine, report = await run_machine(scenario(SLOT, TOGGLE, vcpus), seed)
    assert report.ending is Ending.COMPLETED
    assert machine.vcpus[0].made < 100


async def test_a_vcpu_whose_ring_is_full_does_not_keep_the_others_from_ending() -> None:
    many = LOGGED.replace("0x4000", "0x200000")
    vcpus = """
[mmu]
dirty_mode = "ring"
[[vcpus]]
times = 500
until_writers_return = true
accesses = [{ kind = "write", gpa = 0x0, pages = 500 }]
"""
    machine, report = await run_machine(scenario(many, vcpus))
    assert report.ending is Ending.COMPLETED
    (vcpu,) = machine.vcpus
    assert vcpu.dirty_ring is not None
    assert vcpu.dirty_ring.is_soft_full
    assert vcpu.made < 500


# The end of the VM.

STOP = """
[[writers]]
name = "w"
calls = [{ call = "stop-vcpus" }, { call = "destroy-vm" }]
"""


@pytest.mark.parametrize("seed", range(5))
async def test_the_vm_is_destroyed_when_everybody_has_gone(seed: int) -> None:
    others = """
[[vcpus]]
count = 2
times = 5
until_writers_return = true
accesses = [{ kind = "write", gpa = 0x0, pages = 3 }, { kind = "halt" }]
[[vcpus]]
nested = true
accesses = [{ kind = "read", gpa = 0x1000 }]
[[readers]]
name = "r"
accesses = [{ gpa = 0x0 }]
[[notifiers]]
name = "n"
changes = [{ action = "begin", hva = 0x7f0000003000 }]
"""
    machine, report = await run_machine(scenario(SLOT, others, STOP), seed)
    assert report.ending is Ending.COMPLETED, report
    assert machine.vm.dead
    assert machine.mmu.roots == []


async def test_a_vm_that_is_destroyed_under_its_vcpus_is_waited_for_in_vain() -> None:
    vcpus = """
[[vcpus]]
times = 1
until_writers_return = true
accesses = [{ kind = "halt" }]
"""
    destroy = STOP.replace('{ call = "stop-vcpus" }, ', "")
    _, report = await run_machine(scenario(SLOT, vcpus, destroy))
    assert report.ending is Ending.DEADLOCK
    assert {each.task for each in report.stuck} == {"vcpu0", "w", "main"}


# Calls.


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ('call = "get-dirty-log", slot = 0', "ok"),
        ('call = "get-dirty-log", slot = 1', "ENOENT"),
        ('call = "get-dirty-log", slot = 65536', "EINVAL"),
        ('call = "clear-dirty-log", slot = 0', "ok"),
        ('call = "clear-dirty-log", slot = 1', "ENOENT"),
        ('call = "clear-dirty-log", slot = 65536', "EINVAL"),
        ('call = "clear-dirty-log", slot = 4294967295', "EINVAL"),
        ('call = "clear-dirty-log", slot = 0, first_page = 64', "EINVAL"),
        ('call = "reset-dirty-rings"', "EINVAL"),
        ('call = "zap-gfn-range", start = 0x1000, end = 0x2000', "ok"),
        ('call = "zap-gfn-range", start = 0x2000, end = 0x1000', "ok"),
        ('call = "write-memory", hva = 0x123, value = 5', "ok"),
        ('call = "age-page", hva = 0x7f0000000000', "ok"),
    ],
)
def test_a_call_is_answered_as_by_the_kernel(call: str, result: str) -> None:
    writer = f'[[writers]]\nname = "w"\ncalls = [{{ {call}, expect = "{result}" }}]\n'
    answer = run(Plan(scenario=scenario(LOGGED, writer))).judgement
    assert (answer.violations, answer.mismatches) == ((), ())
    other = "EEXIST" if result == "ok" else "ok"
    wrong = writer.replace(f'"{result}"', f'"{other}"')
    judgement = run(Plan(scenario=scenario(LOGGED, wrong))).judgement
    assert [each.checker for each in judgement.violations] == ["results-match"]


def test_one_call_can_be_for_several_slots() -> None:
    writer = """
[[writers]]
name = "w"
calls = [
  { slot = 1, guest_phys_addr = 0x10000, memory_size = 0x1000, \
userspace_addr = 0x7f0000100000, count = 3, expect = "ok" },
  { slot = 1, guest_phys_addr = 0x0, memory_size = 0x0, userspace_addr = 0x0, \
count = 4, expect = "ok" },
]
"""
    result = run(Plan(scenario=scenario(SLOT, writer)))
    assert result.judgement.calls == 7
    # The fourth one to be deleted is not there.
    assert [each.checker for each in result.judgement.violations] == ["results-match"]


# Everything that can be written.


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "seeds"), [("controlled", 60), ("trio", 20)])
def test_whatever_is_written_can_be_run_and_breaks_no_rule(
    mode: str, seeds: int
) -> None:
    ran = 0
    for seed in range(seeds):
        try:
            made = parse_scenario(document(Author(seed).write()), "x")
        except InputError:
            continue
        result = run(Plan(scenario=made, seed=seed, mode=mode))
        assert result.report.ending is Ending.COMPLETED, (seed, result.report)
        assert result.judgement.violations == (), seed
        ran += 1
    assert ran > seeds * 2 / 3
