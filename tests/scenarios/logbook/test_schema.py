"""Every line of every log is what the printed JSON Schema says, and nothing else is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest

from rcu.trace import EVENT_TYPES
from scenarios.logbook.json_schema import log_schema
from scenarios.logbook.schema import TRACEPOINTS
from scenarios.planner import plan_for
from scenarios.runner import Plan
from tests.scenarios.logbook.runs import Line, lines_of, logged, plans

OLDER = Path(__file__).with_name("older.jsonl")
ROOMS = {room.__name__ for room in TRACEPOINTS}


def logged_plans() -> dict[str, Plan]:
    named = plans() | {
        name: plan_for(name)
        for name in ("migration-ring", "migration-manual", "hva-cache-and-delete")
    }
    swap = named["holds"]
    return named | {"in arrays": attrs.evolve(swap, memslots="array")}


PLANS = logged_plans()


@pytest.fixture(scope="module")
def validators() -> dict[str, Any]:
    """One for each kind of line: to try all of them for each line takes long."""
    schema = log_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return {
        each["title"]: jsonschema.Draft202012Validator(
            each | {"$schema": schema["$schema"], "$defs": schema["$defs"]}
        )
        for each in schema["oneOf"]
    }


def problems(validators: dict[str, Any], line: Line) -> list[str]:
    return [error.message for error in validators[line["event"]].iter_errors(line)]


def distinct(lines: list[Line]) -> list[Line]:
    """The first and the last line, and of other lines some of each event."""
    kept: dict[str, list[Line]] = {}
    for line in lines[1:-1]:
        kept.setdefault(line["event"], []).append(line)
    return [
        lines[0],
        *(each for some in kept.values() for each in some[:20]),
        lines[-1],
    ]


@pytest.mark.parametrize("name", PLANS)
def test_lines_of_a_run_are_as_the_schema_says(
    tmp_path: Path, validators: dict[str, Any], name: str
) -> None:
    path = tmp_path / "log.jsonl"
    logged(PLANS[name], path)
    for line in distinct(lines_of(path)):
        assert not problems(validators, line), line


def test_lines_of_an_older_log_are_as_the_schema_says(
    validators: dict[str, Any],
) -> None:
    for line in lines_of(OLDER):
        assert not problems(validators, line), line


def test_a_line_is_of_one_kind_only(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(log_schema())
    path = tmp_path / "log.jsonl"
    logged(PLANS["holds in a small scenario"], path)
    for line in distinct(lines_of(path)):
        validator.validate(line)


def test_the_schema_knows_every_event(validators: dict[str, Any]) -> None:
    ours = {name for name, kind in EVENT_TYPES.items() if kind.__module__ in ROOMS}
    assert ours | {"run_began", "run_ended"} <= validators.keys()


def test_a_line_that_is_otherwise_is_refused(
    tmp_path: Path, validators: dict[str, Any]
) -> None:
    path = tmp_path / "log.jsonl"
    logged(PLANS["holds"], path)
    for line in distinct(lines_of(path)):
        assert problems(validators, line | {"weight": 1})
        for key in line.keys() - {"op", "event", "vm", "mutant", "schedule", "crc32"}:
            wrong = copy.deepcopy(line) | {key: 1.5}
            assert problems(validators, wrong), (line, key)


def test_addresses_and_numbers_are_integers() -> None:
    text = str(log_schema())
    assert "'number'" not in text
