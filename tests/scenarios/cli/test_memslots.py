"""``--memslots``: the same scenario with slots in trees and in arrays."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from memslots.arrays.array_update import ArrayUpdate
from memslots.arrays.array_vm import ArrayVm
from memslots.update import Update
from scenarios.errors import InputError
from scenarios.kinds import with_memslots
from scenarios.machine import Parts
from scenarios.plan import Plan
from scenarios.planner import plan_for
from tests.scenarios.cli.calling import HOLDS, VIOLATES, Cli


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(HOLDS)
    return path


def first_line(path: Path) -> dict[str, object]:
    with path.open() as log:
        header: dict[str, object] = json.loads(next(log))
    return header


def events(path: Path) -> set[str]:
    return {json.loads(line)["event"] for line in path.read_text().splitlines()}


@pytest.mark.parametrize(
    ("options", "kind", "title"),
    [
        ((), "tree", "seed 0\n"),
        (("--memslots", "tree"), "tree", "seed 0\n"),
        (("--memslots", "array"), "array", "seed 0, slots in arrays\n"),
    ],
)
def test_a_run_says_how_slots_are_kept(
    cli: Cli,
    scenario: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    kind: str,
    title: str,
) -> None:
    log = tmp_path / "log.jsonl"
    outcome = cli("run", scenario, *options, "--log", log)
    assert outcome.code == 0, outcome
    assert title in outcome.out
    assert first_line(log)["memslots"] == kind
    assert ("set_copied" in events(log)) is (kind == "array")
    assert cli("check", log).code == 0
    assert cli("run", scenario, *options, "--format", "json").json["memslots"] == kind


def test_another_kind_is_refused(cli: Cli, scenario: Path) -> None:
    error = cli("run", scenario, "--memslots", "list").error
    assert "--memslots" in error
    assert "list" in error
    assert "array" in error


@pytest.mark.parametrize("kind", ["tree", "array"])
def test_a_schedule_remembers_the_kind(
    cli: Cli, scenario: Path, tmp_path: Path, kind: str
) -> None:
    kept, logs = (
        tmp_path / "schedule.json",
        [tmp_path / "1.jsonl", tmp_path / "2.jsonl"],
    )
    options = ("--memslots", kind, "--schedule", kept, "--log", logs[0])
    assert cli("run", scenario, *options).code == 0
    assert json.loads(kept.read_text())["memslots"] == kind
    assert cli("replay", kept, "--log", logs[1]).code == 0
    assert logs[0].read_bytes() == logs[1].read_bytes()


def test_a_schedule_without_the_kind_is_one_of_trees(
    cli: Cli, scenario: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "schedule.json"
    cli("run", scenario, "--schedule", kept)
    fields = json.loads(kept.read_text())
    del fields["memslots"]
    kept.write_text(json.dumps(fields))
    assert cli("replay", kept, "--format", "json").json["memslots"] == "tree"


def test_a_violation_on_arrays_is_replayed_on_arrays(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(VIOLATES)
    first = cli("run", "own.toml", "--memslots", "array", "--format", "json")
    assert first.code == 1
    again = cli("replay", first.json["schedule"], "--format", "json")
    assert (again.code, again.json["memslots"]) == (1, "array")
    assert again.json["steps"] == first.json["steps"]


# Plans.


class MadeForTrees(Update):
    pass


class MadeForArrays(ArrayUpdate):
    pass


def test_a_plan_for_trees_stays_as_it_is() -> None:
    plan = attrs.evolve(plan_for("dual-set-swap"), parts=Parts(update=MadeForTrees))
    assert with_memslots(plan, "tree") is plan


def plan_with(update: type[Update]) -> Plan:
    return attrs.evolve(plan_for("dual-set-swap"), parts=Parts(update=update))


@pytest.mark.parametrize(
    ("update", "taken"), [(Update, ArrayUpdate), (MadeForArrays, MadeForArrays)]
)
def test_parts_for_arrays_are_taken(update: type[Update], taken: type[Update]) -> None:
    plan = with_memslots(plan_with(update), "array")
    assert (plan.parts.vm, plan.parts.update) == (ArrayVm, taken)
    assert plan.memslots == "array"


def test_a_part_for_trees_is_refused() -> None:
    text = (
        "^--memslots array: the part update is MadeForTrees, made for trees; make it a"
        " subclass of ArrayUpdate$"
    )
    with pytest.raises(InputError, match=text):
        with_memslots(plan_with(MadeForTrees), "array")
