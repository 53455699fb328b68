"""What is said of each mutant is complete, and the kept order shows it as stated."""

from __future__ import annotations

import re

import pytest

from scenarios.checkers.judge import CHECKERS
from scenarios.explorer.exploration import Question
from scenarios.explorer.explore import explore
from scenarios.mutants.registry import Registered, limits, registered
from scenarios.mutants.schedules import folder, kept_orders, make_again
from scenarios.mutants.steps import Step
from scenarios.mutants.trying import program_of, try_mutant
from scenarios.planner import plan_for
from scenarios.runner import run
from scenarios.schedule_file import Expected

ALL = list(registered().values())
IDS = [each.mutant.id for each in ALL]

WITNESSES = {
    "consistent-set": "30b",
    "no-use-after-free": "62b",
    "grace-period": "R4",
    "sets-converge": "64",
    "retired-set-quiet": "63",
    "generation-unique": "14",
    "lock-order": "6b",
    "deadlock": "39",
    "results-match": "33",
    "guest-sees": "1",
    "freed-once": "4b",
    "invalid-is-seen": "27a",
    "no-stale-translation": "43",
    "mmio-cache-fresh": "15",
    "notifier-balanced": "8",
    "page-count": "54b",
    "arch-data-kept": "59d",
    "no-dirty-page-lost": "59a",
}
"""For each checker a mutant that nobody else notices."""


def sentences(text: str) -> int:
    """How many sentences a text has."""
    return len(re.findall(r"[.?!](?=\s|$)", text))


@pytest.mark.parametrize("each", ALL, ids=IDS)
def test_what_is_said_is_short_and_complete(each: Registered) -> None:
    mutant = each.mutant
    assert re.fullmatch(r"\d+[a-z]?|R\d+[a-z]?", mutant.id)
    assert len(mutant.title) <= 72
    assert not mutant.title.endswith(".")
    assert sentences(mutant.why) == 2
    assert mutant.provenance.kind == "fix" or not mutant.provenance.cve
    assert plan_for(mutant.scenario).scenario.name == mutant.scenario


def test_every_step_of_the_protocol_has_a_mutant_or_is_named_here() -> None:
    without = set(Step) - {each.mutant.step for each in ALL}
    assert without == set()


def test_what_is_not_promised_is_shown_by_scenarios_that_hold() -> None:
    assert [limit.id for limit in limits()] == [f"L{n}" for n in range(1, 7)]
    for limit in limits():
        assert run(plan_for(limit.scenario)).judgement.violations == ()


# The shortest orders.


def test_the_shortest_order_of_every_mutant_is_kept_and_of_nobody_else() -> None:
    files = sorted(path.stem for path in folder().glob("*.json"))
    assert files == sorted(IDS)


@pytest.mark.slow
def test_every_kept_order_shows_its_mutant_as_stated() -> None:
    """If one fails: memslots mutants run --schedules scenarios/mutants/shortest."""
    orders = kept_orders()
    for again, (each, schedule) in zip(make_again(orders), orders, strict=True):
        mutant = each.mutant
        assert again.diverged == "", mutant.id
        assert again.run is not None
        finding, kept = again.run.finding, schedule.finding
        if mutant.checker == "starvation":  # no single state shows it
            assert (finding, kept) == (None, None), mutant.id
            continue
        assert finding is not None, mutant.id
        assert Expected(finding.checker, finding.seen) == kept
        assert finding.checker == mutant.checker, mutant.id
        assert mutant.preemptions in {None, again.run.preemptions}, mutant.id


# What no order shows.

UNSEEN = [(each, name) for each in ALL for name in each.mutant.unseen_in]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("each", "name"), UNSEEN, ids=[f"{each.mutant.id} in {n}" for each, n in UNSEEN]
)
def test_no_order_of_a_smaller_scenario_shows_it(each: Registered, name: str) -> None:
    answer = explore(program_of(each, scenario=name), Question(strategy="exhaustive"))
    assert answer.verdict == "holds"
    assert answer.exhausted


# Nobody looks in vain.


def test_every_checker_has_a_witness() -> None:
    assert {*WITNESSES} == {*CHECKERS}
    for checker, id_ in WITNESSES.items():
        assert registered()[id_].mutant.checker == checker


@pytest.mark.slow
@pytest.mark.parametrize(("checker", "id_"), WITNESSES.items())
def test_without_its_checker_a_mutant_survives(checker: str, id_: str) -> None:
    assert try_mutant(registered()[id_], without=[checker]).fate == "survived"
