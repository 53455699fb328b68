"""`check`: a log is judged from the log alone."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from scenarios.logbook.schema import SCHEMA
from tests.scenarios.cli.calling import (
    HOLDS,
    INCONCLUSIVE,
    VIOLATES,
    Cli,
    Outcome,
    update,
)

JUDGED = {
    "verdict",
    "reasons",
    "calls",
    "mismatches",
    "read_sections",
    "grace_periods",
    "checkers",
    "violations",
}


def logged(cli: Cli, scenario: str, log: str = "own.log") -> list[str]:
    """The lines of the log of a run."""
    Path("own.toml").write_text(scenario)
    assert cli("run", "own.toml", "--log", log).code in {0, 1, 3}
    return Path(log).read_text().splitlines(keepends=True)


def checked(cli: Cli, lines: list[str] | str) -> Outcome:
    """What is said of these lines."""
    Path("changed.log").write_text("".join(lines))
    return cli("check", "changed.log")


@pytest.mark.parametrize(
    ("scenario", "code"), [(HOLDS, 0), (VIOLATES, 1), (INCONCLUSIVE, 3)]
)
def test_judgement_of_a_log_is_that_of_its_run(
    cli: Cli, tmp_path: Path, scenario: str, code: int
) -> None:
    (tmp_path / "own.toml").write_text(scenario)
    run = cli("run", "own.toml", "--log", "own.log", "--format", "json")
    told = cli("check", "own.log", "--format", "json")
    assert told.code == run.code == code
    assert not told.err
    assert told.json == {"log": "own.log"} | {key: run.json[key] for key in JUDGED}
    text = cli("check", "own.log")
    assert text.code == code
    assert text.out.startswith("own.log\n\n  memory-region calls  1\n")
    assert cli("check", "own.log", "-q").out == ("" if code == 0 else text.out)


def test_worst_verdict_of_several_logs_is_the_exit_code(cli: Cli) -> None:
    logged(cli, HOLDS, "holds.log")
    logged(cli, INCONCLUSIVE, "inconclusive.log")
    logged(cli, VIOLATES, "violation.log")
    assert cli("check", "holds.log", "holds.log").code == 0
    assert cli("check", "inconclusive.log", "holds.log").code == 3
    outcome = cli("check", "holds.log", "violation.log", "inconclusive.log", "-q")
    assert outcome.code == 1
    assert "holds.log" not in outcome.out
    assert outcome.out.index("violation.log") < outcome.out.index("inconclusive.log")


def test_log_is_checked_without_its_scenario(cli: Cli) -> None:
    lines = logged(cli, HOLDS)
    Path("own.toml").unlink()
    assert checked(cli, lines).code == 0


# Logs that are cut off.


def test_log_without_its_end_is_inconclusive(cli: Cli) -> None:
    lines = logged(cli, HOLDS)
    for kept in (1, 2, len(lines) // 2, len(lines) - 1):
        outcome = checked(cli, lines[:kept])
        assert outcome.code == 3
        assert f"the log is cut off after line {kept}" in outcome.out


def test_log_cut_off_in_the_middle_of_a_line_is_inconclusive(cli: Cli) -> None:
    lines = logged(cli, HOLDS)
    half = len(lines) // 2
    for rest in (lines[half][:1], lines[half][:-2], lines[half].rstrip("\n")):
        outcome = checked(cli, [*lines[:half], rest])
        assert outcome.code == 3
        assert f"the log is cut off after line {half}" in outcome.out


def test_violation_before_the_cut_is_one(cli: Cli) -> None:
    lines = logged(cli, VIOLATES)
    assert checked(cli, lines[:-1]).code == 1


def test_log_of_a_run_that_was_stopped_is_inconclusive(cli: Cli) -> None:
    lines = logged(cli, HOLDS)
    for ending in ("interrupted", "step budget used up", "of another kind"):
        last = json.loads(lines[-1]) | {"ending": ending}
        del last["crc32"]
        outcome = checked(cli, [*lines[:-1], json.dumps(last) + "\n"])
        assert outcome.code == 3
        assert f"the run is not whole: {ending}" in outcome.out


# Logs that are none.


def test_log_of_another_version_is_refused(cli: Cli) -> None:
    lines = logged(cli, HOLDS)
    header = json.loads(lines[0]) | {"schema": 99, "tool_version": "9.9\x1b[31m"}
    error = checked(cli, [json.dumps(header) + "\n", *lines[1:]]).error
    assert f"the log has schema 99, this version reads {SCHEMA}" in error
    assert "check it with the version that wrote it (9.9" in error


def test_missing_log_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert "none.log: No such file" in cli("check", "none.log").error
    assert "Is a directory" in cli("check", tmp_path).error


@pytest.mark.parametrize(
    "content",
    ["", "\n", "{}\n", "[]\n", '{"seq": 0', update(), "\0" * 99, "[" * 100_000 + "\n"],
    ids=["empty", "blank", "object", "array", "half", "trace", "zeros", "nested"],
)
def test_other_file_is_no_log(cli: Cli, content: str) -> None:
    error = checked(cli, content).error
    assert "changed.log:" in error
    assert "give what 'memslots run --log' wrote" in error


def test_bytes_are_no_log(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "own.log").write_bytes(bytes(range(256)) * 9)
    assert "own.log:1: not a log" in cli("check", "own.log").error


def test_line_that_is_no_event_is_named(cli: Cli) -> None:
    lines = logged(cli, HOLDS)
    error = checked(cli, [*lines[:4], "what?\n", *lines[5:]]).error
    assert "changed.log:5: not an event" in error


@pytest.mark.parametrize("key", ["seq", "step", "actor", "event"])
def test_key_that_is_missing_is_named(cli: Cli, key: str) -> None:
    lines = logged(cli, HOLDS)
    event = json.loads(lines[4])
    del event[key]
    error = checked(cli, [*lines[:4], json.dumps(event) + "\n", *lines[5:]]).error
    assert f"changed.log:5: key '{key}' is missing" in error


def test_event_that_contradicts_those_before_it_is_named(cli: Cli) -> None:
    lines = logged(cli, HOLDS)
    place, event = next(
        (place, json.loads(line))
        for place, line in enumerate(lines)
        if '"event":"slot_installed"' in line
    )
    event["as_id"] = 7
    changed = [*lines[:place], json.dumps(event) + "\n", *lines[place + 1 :]]
    assert f"changed.log:{place + 1}: " in checked(cli, changed).error


def test_missing_line_is_noticed(cli: Cli) -> None:
    lines = logged(cli, HOLDS)
    error = checked(cli, lines[:4] + lines[5:]).error
    assert "changed.log:5: seq must be 4, got 5" in error


def test_line_after_the_end_is_refused(cli: Cli) -> None:
    lines = logged(cli, HOLDS)
    error = checked(cli, [*lines, lines[-1]]).error
    assert f"changed.log:{len(lines) + 1}: there is something after" in error


ODD: list[Any] = [None, -1, 1 << 62, 1 << 70, 1.5, "", "\x1b[31m", [], {}, [1], True]


@pytest.mark.slow
def test_no_change_of_a_value_is_a_bug_of_ours(cli: Cli) -> None:
    lines = logged(cli, HOLDS)
    events = [json.loads(line) for line in lines]
    first = {event["event"]: place for place, event in reversed([*enumerate(events)])}
    draw = random.Random(1)  # noqa: S311 - to be repeatable
    codes = set()
    for place in first.values():
        for key in events[place]:
            event = events[place] | {key: draw.choice(ODD)}
            inner = events[place][key]
            if isinstance(inner, dict):
                event[key] = inner | {draw.choice([*inner]): draw.choice(ODD)}
            changed = [*lines[:place], json.dumps(event) + "\n", *lines[place + 1 :]]
            outcome = checked(cli, changed)
            codes.add(outcome.code)
            assert outcome.code in {0, 1, 2, 3}, event
            assert "\x1b" not in outcome.out
            if outcome.code == 2:
                assert "changed.log:" in outcome.error
    assert 2 in codes
