"""Selftests, incidents and small scenarios hold, and test what they name.

Here with few seeds; `tests.scenarios.catalogue.seeds` is for many.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from scenarios.catalogue.entries import entries
from scenarios.planner import plan_for
from tests.scenarios.catalogue.seeds import main, run_seeds

SLOW = {"max-regions"}
"""Those that take seconds."""


def names(folder: str) -> list[str]:
    """The scenarios of a folder."""
    return [name for name, path in entries().items() if path.parent == _in(folder)]


def _in(folder: str) -> Path:
    return entries()["dual-set-swap"].parent / folder


NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in [*names("selftests"), *names("incidents"), *names("small")]
]


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_that_is_named_is_exercised_and_holds(name: str) -> None:
    plan = plan_for(name)
    assert plan.scenario.must_exercise
    seeds = 1 if name in SLOW else 2
    assert run_seeds(plan, range(seeds)).others == ()
    if name not in SLOW:
        assert run_seeds(attrs.evolve(plan, mode="trio"), [0]).others == ()


def test_what_every_run_of_the_whole_protocol_exercises_is_named() -> None:
    """Also without vCPUs; ``no-stale-translation``, for one, needs them."""
    plans = plan_for("dual-set-swap"), plan_for("dual-set-swap", vcpus=0)
    least = [run_seeds(plan, range(3)).least for plan in plans]
    exercised = [id_ for id_ in least[0] if all(each[id_] for each in least)]
    assert exercised == list(plans[0].scenario.must_exercise)


def test_the_table_of_many_seeds_says_what_held(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["2", "zero-regions"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[0] == "zero-regions"
    assert "holds  consistent-set 10, mmio-cache-fresh 14" in line
