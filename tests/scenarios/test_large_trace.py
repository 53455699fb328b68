"""A trace of many calls is run in steps that grow with the calls, not faster."""

from __future__ import annotations

import random
from pathlib import Path

import attrs
import pytest

from rcu.schedule.report import Ending
from scenarios import trace_plan
from scenarios.checkers.judge import Verdict
from scenarios.planner import plan_for
from scenarios.runner import RunResult, run
from scenarios.trace_plan import EXITS, FREE_CALLS, MOST_ACCESSES
from tests.scenarios.cli.calling import VM

SIZE = 0x10000


def write_trace(path: Path, calls: int, slots: int) -> None:
    """Slots that are made, logged and deleted by turns, as chance has it."""
    chance = random.Random(1)  # noqa: S311 - to be the same each time
    made: dict[int, int] = {}
    lines = [VM]
    for _ in range(calls):
        slot = chance.randrange(slots)
        gone = slot in made and chance.random() < 0.5
        flags = 1 - made[slot] if slot in made else 0
        if gone:
            flags = made.pop(slot)
        else:
            made[slot] = flags
        lines.append(
            f"7  ioctl(9, KVM_SET_USER_MEMORY_REGION, {{slot={slot}, flags={flags:#x},"
            f" guest_phys_addr={slot * SIZE:#x}, memory_size={0 if gone else SIZE},"
            " userspace_addr=0x7f0000000000}) = 0\n"
        )
    path.write_text("".join(lines))


def run_calls(folder: Path, calls: int, slots: int = 64) -> RunResult:
    path = folder / f"{calls}-calls.strace"
    write_trace(path, calls, slots)
    return run(plan_for(str(path)))


def test_vcpus_of_a_long_trace_are_paced(tmp_path: Path) -> None:
    for calls, per_call in (
        (FREE_CALLS, None),
        (FREE_CALLS + 1, MOST_ACCESSES / (4 * (FREE_CALLS + 1))),
        (4 * FREE_CALLS, MOST_ACCESSES / (16 * FREE_CALLS)),
    ):
        path = tmp_path / "long.strace"
        write_trace(path, calls, 8)
        plan = plan_for(str(path))
        assert plan.work is not None
        assert plan.work.accesses_per_call == per_call
    without = plan_for(str(path), vcpus=0)
    assert without.work is not None
    assert without.work.accesses_per_call is None
    assert without.scenario.budget >= 500 * calls


@pytest.mark.parametrize("mode", ["controlled", "trio"])
@pytest.mark.parametrize("seed", range(3))
def test_paced_vcpus_make_so_many_accesses_for_each_call(seed: int, mode: str) -> None:
    plan = plan_for("q35-boot", seed=seed, mode=mode, vcpus=2)
    assert plan.work is not None
    (spec,) = plan.scenario.vcpus
    scenario = attrs.evolve(plan.scenario, vcpus=(attrs.evolve(spec, times=1),))
    steps = []
    for per_call in (None, 1.0, 0.1):
        work = attrs.evolve(plan.work, accesses_per_call=per_call)
        result = run(attrs.evolve(plan, scenario=scenario, work=work))
        assert result.judgement.verdict is Verdict.HOLDS
        assert result.report.ending is Ending.COMPLETED
        steps.append(result.report.steps)
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == 3


@pytest.mark.slow
def test_steps_grow_with_the_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_plan, "MOST_ACCESSES", 4_000)
    for calls in (FREE_CALLS + 1, 2 * FREE_CALLS):
        result = run_calls(tmp_path, calls)
        assert result.judgement.verdict is Verdict.HOLDS
        assert result.judgement.calls == calls
        assert result.report.ending is Ending.COMPLETED
        readers = 4_000 + 4 * EXITS
        assert result.report.steps < 60 * calls + 60 * readers
