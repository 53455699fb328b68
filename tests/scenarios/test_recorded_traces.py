"""Every recorded trace is run call for call, and answers as the real kernel did."""

from __future__ import annotations

from pathlib import Path

import pytest

from rcu.schedule.report import Ending
from scenarios.checkers.judge import Verdict
from scenarios.kinds import MemslotsKind, with_memslots
from scenarios.planner import plan_for
from scenarios.runner import run

RECORDED = Path(__file__).parents[2].parent / "shared" / "traces"

pytestmark = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="the recorded traces are not beside the repository"
)

CALLS = {
    "q35-boot.strace": 39,
    "q35-boot.qemutrace": 39,
    "q35-migrate.strace": 55,
    "q35-dimm-hotplug.strace": 87,
    "microvm.strace": 6,
    "q35.mtree": 5,
    "fuzz-16slots.strace": 600,
    "fuzz-threads.strace": 2_000,
}
MODES = pytest.mark.parametrize("mode", ["controlled", "trio"])
KINDS = pytest.mark.parametrize("memslots", ["tree", "array"])
NAMES = pytest.mark.parametrize("name", CALLS)


def assert_answers_as_recorded(
    name: str, mode: str, memslots: MemslotsKind, *, seed: int, vcpus: int
) -> None:
    plan = plan_for(str(RECORDED / name), mode=mode, seed=seed, vcpus=vcpus)
    result = run(with_memslots(plan, memslots))
    judgement = result.judgement
    assert judgement.mismatches == ()
    assert judgement.violations == ()
    assert (judgement.verdict, judgement.reasons) == (Verdict.HOLDS, ())
    assert judgement.calls == CALLS[name]
    assert judgement.checkers["results-match"].exercised == CALLS[name]
    assert result.report.ending is Ending.COMPLETED


@NAMES
@MODES
@KINDS
def test_the_model_answers_as_the_real_kernel_did(
    name: str, mode: str, memslots: MemslotsKind
) -> None:
    assert_answers_as_recorded(name, mode, memslots, seed=0, vcpus=1)


@NAMES
@MODES
@KINDS
@pytest.mark.slow
def test_the_model_answers_as_the_real_kernel_did_in_many_orders(
    name: str, mode: str, memslots: MemslotsKind
) -> None:
    for seed in range(1, 9 if CALLS[name] < 600 else 2):
        assert_answers_as_recorded(name, mode, memslots, seed=seed, vcpus=4)


def test_no_recorded_trace_is_left_out() -> None:
    names = {path.name for path in RECORDED.iterdir()} - {"README.md"}
    assert names == set(CALLS)
