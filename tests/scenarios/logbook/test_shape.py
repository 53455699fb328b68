"""What a log looks like, whatever the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import structlog

from rcu.trace import EVENT_TYPES
from scenarios.logbook.schema import field_names
from tests.scenarios.logbook.runs import lines_of, logged, plans

PLANS = plans()
EVERY = pytest.mark.parametrize("name", PLANS)

PLACE = ["seq", "step", "actor", "op", "event"]
HEADER = [
    "schema",
    "tool_version",
    "scenario",
    "scenario_digest",
    "strategy",
    "seed",
    "mode",
    "vcpus",
    "tasks",
    "must_exercise",
    "memslots",
    "vm",
    "mutant",
    "schedule",
]


def plain_values(value: Any) -> list[Any]:
    """Everything in a line that holds nothing else."""
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in plain_values(each)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in plain_values(each)]
    return [value]


@EVERY
def test_a_header_comes_first_and_run_ended_last(tmp_path: Path, name: str) -> None:
    path = tmp_path / "log.jsonl"
    plan = PLANS[name]
    result = logged(plan, path)
    first, *between, last = lines_of(path)
    assert list(first) == [*PLACE, *HEADER]
    assert {key: first[key] for key in [*PLACE, *HEADER]} == first
    assert (first["event"], first["schema"], first["step"]) == ("run_began", 1, 0)
    assert first["tasks"] == list(result.tasks)
    assert (first["mode"], first["seed"]) == (plan.mode, plan.seed)
    assert first["vcpus"] == plan.scenario.vcpu_count
    assert first["must_exercise"] == list(plan.scenario.must_exercise)
    assert list(last) == [*PLACE, "ending", "crc32"]
    assert (last["event"], last["ending"]) == ("run_ended", result.report.ending.value)
    events = {line["event"] for line in between}
    assert events <= EVENT_TYPES.keys()
    assert not events & {"run_began", "run_ended"}


@EVERY
def test_lines_are_numbered_without_a_gap_and_steps_never_go_back(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "log.jsonl"
    result = logged(PLANS[name], path)
    lines = lines_of(path)
    assert [line["seq"] for line in lines] == list(range(len(lines)))
    steps = [line["step"] for line in lines]
    assert steps == sorted(steps)
    assert steps[-1] <= result.report.steps + 1
    actors = {line["actor"] for line in lines}
    assert actors <= {"", "setup", *result.tasks}


@EVERY
def test_every_line_has_its_place_first_and_then_its_events_fields_in_order(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "log.jsonl"
    logged(PLANS[name], path)
    for line in lines_of(path)[1:-1]:
        fields = field_names(EVENT_TYPES[line["event"]])
        assert list(line) == [*PLACE, *fields]


def test_a_log_holds_no_fractions_and_so_no_clock(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    logged(PLANS["holds"], path)
    kinds = {type(leaf) for line in lines_of(path) for leaf in plain_values(line)}
    assert kinds == {int, str, bool, type(None)}


def test_a_log_is_compact_utf_8_with_one_line_an_event(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    logged(PLANS["holds"], path)
    data = path.read_bytes()
    assert data.endswith(b"\n")
    for line in data.decode().splitlines():
        assert line == json.dumps(json.loads(line), separators=(",", ":"))


def test_every_line_goes_through_structlog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    wrap = structlog.wrap_logger

    def look_on(logger: Any, method: str, line: Any) -> Any:
        assert method == "info"
        seen.append(line["event"])
        return line

    def wrapped(logger: Any, *, processors: list[Any], **more: Any) -> Any:
        return wrap(logger, processors=[look_on, *processors], **more)

    monkeypatch.setattr(structlog, "wrap_logger", wrapped)
    path = tmp_path / "log.jsonl"
    logged(PLANS["holds in a small scenario"], path)
    assert seen == [line["event"] for line in lines_of(path)]
    assert len(seen) > 50
