"""The order of a run makes the run again, byte by byte, or says where it cannot."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from scenarios.checkers.judge import Verdict
from scenarios.logbook.check import check_log
from scenarios.planner import plan_for
from scenarios.runner import Plan, RunResult, run
from scenarios.strategies.replay import ReplayDivergedError
from tests.protocol.small_scenarios import small_scenarios
from tests.scenarios.logbook.runs import logged, plans

PLANS = plans()
SMALL = Plan(scenario=small_scenarios()["first-shadow-root"])
GP, HOTPLUG, NESTED = range(3)


@pytest.mark.parametrize("mode", ["controlled", "trio"])
@pytest.mark.parametrize("name", PLANS)
def test_a_replay_writes_the_same_log(tmp_path: Path, name: str, mode: str) -> None:
    plan = attrs.evolve(PLANS[name], mode=mode)
    first, second = tmp_path / "first", tmp_path / "second"
    made = logged(plan, first)
    again = logged(plan, second, list(made.order))
    assert second.read_bytes() == first.read_bytes()
    assert again.order == made.order
    assert again.judgement == made.judgement
    assert again.report.ending is made.report.ending
    assert again.report.steps == made.report.steps


@pytest.mark.parametrize("seed", range(20))
def test_an_order_does_not_depend_on_who_made_it(seed: int) -> None:
    plan = attrs.evolve(plan_for("dual-set-swap"), seed=seed)
    made = run(plan)
    other = attrs.evolve(plan, strategy="round-robin", seed=99)
    assert run(other, order=list(made.order)).judgement == made.judgement


def diverged(order: list[int], plan: Plan = SMALL) -> tuple[int, str]:
    """Where a replay diverges, and what it says."""
    with pytest.raises(ReplayDivergedError) as raised:
        run(plan, order=order)
    return raised.value.step, str(raised.value)


@pytest.fixture(scope="module")
def made() -> RunResult:
    return run(SMALL)


def test_a_task_that_cannot_go_on_is_named(made: RunResult) -> None:
    assert made.tasks == ("kvm->srcu-gp", "hotplug", "nested")
    order = [GP, *made.order[1:]]
    text = (
        "step 1 is made by kvm->srcu-gp, which cannot wait for work kvm->srcu"
        " gp_seq_needed, kvm->srcu gp_seq now; hotplug, nested can go on"
    )
    assert diverged(order) == (1, text)


def test_a_task_that_does_not_exist_is_named(made: RunResult) -> None:
    order = list(made.order)
    order[10] = 3
    text = "step 11 is made by task number 3, but the run has 3 tasks"
    assert diverged(order) == (11, text)


def test_an_order_that_ends_too_early_is_refused(made: RunResult) -> None:
    for length in (0, 1, 30, len(made.order) - 1):
        step, text = diverged(list(made.order[:length]))
        assert step == length + 1
        assert text.startswith(f"the schedule ends after {length} steps, but ")
        assert text.endswith(" can go on")


def test_an_order_that_goes_on_too_long_is_refused(made: RunResult) -> None:
    steps = len(made.order)
    text = f"the run ended after {steps} steps, but the schedule has {steps + 2}"
    assert diverged([*made.order, GP, GP]) == (steps + 1, text)


def test_a_finished_task_makes_no_step(made: RunResult) -> None:
    last_of_nested = max(
        step for step, index in enumerate(made.order) if index == NESTED
    )
    order = [*made.order[: last_of_nested + 1], NESTED]
    step, text = diverged(order)
    assert step == last_of_nested + 2
    assert text.startswith(f"step {step} is made by nested, which cannot ")


def test_a_tampered_order_diverges_at_or_after_the_change_or_makes_another_run(
    made: RunResult,
) -> None:
    outcomes = {"diverged": 0, "whole": 0}
    for place in range(len(made.order)):
        for index in {GP, HOTPLUG, NESTED} - {made.order[place]}:
            order = [*made.order[:place], index, *made.order[place + 1 :]]
            try:
                again = run(SMALL, order=order)
            except ReplayDivergedError as error:
                assert place < error.step <= len(order) + 1  # noqa: PT017 - either way
                outcomes["diverged"] += 1
            else:
                assert again.order == tuple(order)
                outcomes["whole"] += 1
    assert sum(outcomes.values()) == 2 * len(made.order)
    assert outcomes["diverged"] > outcomes["whole"]


def test_the_log_of_a_replay_that_diverged_is_not_whole(
    tmp_path: Path, made: RunResult
) -> None:
    path = tmp_path / "log.jsonl"
    order = list(made.order)
    order[50] = 3
    with pytest.raises(ReplayDivergedError):
        logged(SMALL, path, order)
    judgement = check_log(path)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reasons[0] == "the run is not whole: interrupted"


def test_an_order_for_another_scenario_diverges(made: RunResult) -> None:
    order = list(made.order)
    step, text = diverged(order, plan_for("dual-set-swap"))
    assert 1 <= step <= len(order) + 1
    assert text
