"""`check` for those who run it: JUnit, GitHub, TAP; and names that are no names."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from scenarios.checkers.judge import CHECKERS
from tests.scenarios.cli.calling import HOLDS, INCONCLUSIVE, VIOLATES, Cli
from tests.scenarios.logbook.runs import Line, as_bytes, lines_of


@pytest.fixture
def logs(cli: Cli) -> dict[str, Path]:
    """A log with each verdict."""
    made = {}
    for name, scenario in (
        ("holds", HOLDS),
        ("violation", VIOLATES),
        ("inconclusive", INCONCLUSIVE),
    ):
        Path("own.toml").write_text(scenario)
        made[name] = Path(f"{name}.jsonl")
        cli("run", "own.toml", "--log", made[name])
    return made


CODES = {"holds": 0, "violation": 1, "inconclusive": 3}

FORMATS = pytest.mark.parametrize("form", ["text", "json", "junit", "github", "tap"])


@FORMATS
@pytest.mark.parametrize("verdict", CODES)
def test_exit_code_is_the_verdicts_in_every_format(
    cli: Cli, logs: dict[str, Path], form: str, verdict: str
) -> None:
    outcome = cli("check", logs[verdict], "--format", form)
    assert outcome.code == CODES[verdict]
    assert verdict in outcome.out
    assert not outcome.err
    every = cli("check", *logs.values(), "--format", form)
    assert every.code == 1


@FORMATS
def test_log_that_cannot_be_read_keeps_no_other_from_being_judged(
    cli: Cli, logs: dict[str, Path], form: str
) -> None:
    outcome = cli("check", "none.jsonl", logs["violation"], "--format", form)
    assert outcome.code == 2
    assert outcome.line == "memslots: error: none.jsonl: No such file or directory"
    assert "EEXIST" in outcome.out


def test_junit_has_a_suite_for_each_log_and_a_case_for_each_checker(
    cli: Cli, logs: dict[str, Path]
) -> None:
    told = cli("check", *logs.values(), "none.jsonl", "--format", "junit")
    exercised = cli("check", logs["holds"], "--format", "json").json["checkers"]
    root = ET.fromstring(told.out)  # noqa: S314 - our own
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == [*map(str, logs.values()), "none.jsonl"]
    holds = suites["holds.jsonl"]
    cases = {case.get("name"): case for case in holds}
    assert list(cases) == [*CHECKERS, "verdict"]
    for id_ in CHECKERS:
        assert cases[id_].get("assertions") == str(exercised[id_]["exercised"])
        skipped = cases[id_].find("skipped") is not None
        assert skipped is not bool(exercised[id_]["exercised"])
    assert (holds.get("failures"), holds.get("errors")) == ("0", None)
    violation = suites["violation.jsonl"]
    failed = [
        case.get("name") for case in violation if case.find("failure") is not None
    ]
    assert failed == ["results-match", "verdict"]
    wrong = [
        case.get("name")
        for case in suites["inconclusive.jsonl"].iter()
        if case.find("error") is not None
    ]
    assert wrong == ["verdict"]
    (case,) = suites["none.jsonl"]
    error = case.find("error")
    assert error is not None
    assert error.get("message") == "error: none.jsonl: No such file or directory"


def test_github_is_told_in_annotations(cli: Cli, logs: dict[str, Path]) -> None:
    odd = Path("100%,a:b.jsonl")
    odd.write_bytes(logs["inconclusive"].read_bytes())
    told = cli("check", *logs.values(), odd, "none", "--format", "github").out
    lines = told.splitlines()
    heads = [line.split("::")[1] for line in lines]
    assert heads == [
        "notice file=holds.jsonl,title=holds",
        "error file=violation.jsonl,title=violation of results-match",
        "warning file=inconclusive.jsonl,title=inconclusive",
        "warning file=100%25%2Ca%3Ab.jsonl,title=inconclusive",
        "error file=none,title=input error",
    ]
    assert "EEXIST" in lines[1]
    assert lines[2].endswith("::inconclusive: consistent-set was not exercised")


def test_tap_counts_what_it_tells(cli: Cli, logs: dict[str, Path]) -> None:
    told = cli("check", *logs.values(), "none#.jsonl", "--format", "tap").out
    lines = told.splitlines()
    assert lines[0] == "TAP version 14"
    results = [line for line in lines if line.startswith(("ok ", "not ok "))]
    assert lines[-1] == f"1..{len(results)}"
    assert len(results) == 3 * (len(CHECKERS) + 1) + 1
    for number, line in enumerate(results, 1):
        assert f"ok {number} - " in line
    failed = [line.partition(" - ")[2] for line in results if line.startswith("not")]
    assert failed == [
        "violation.jsonl: results-match, exercised 1 times",
        "violation.jsonl: verdict",
        "inconclusive.jsonl: verdict",
        "none\\#.jsonl: verdict",
    ]
    messages = [line for line in lines if line.startswith("  message: ")]
    assert len(messages) == len(failed)
    assert all(json.loads(line.partition(": ")[2]) for line in messages)


# Standard input, compressed logs.


def test_log_comes_from_standard_input(
    cli: Cli, logs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = cli("check", logs["violation"])
    for data in (logs["violation"].read_bytes(),):
        for each in (data, gzip.compress(data)):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(each)))
            outcome = cli("check", "-")
            assert outcome.code == plain.code == 1
            assert outcome.out == plain.out.replace(
                "violation.jsonl", "standard input", 1
            )
    error = cli("check", "-", "-").error
    assert error.endswith("standard input can be read only once; give - once")


# What others have written.


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"name": "left-pad", "version": "1.3.0"}\n', ":1: a log begins with"),
        (b'[{"seq": 0}]\n', ":1: not a log"),
        (b'{"t":1,"event":"run_began"}\n', "the log has schema None"),
        (b'{"event":"run_began","schema":1,"seq":7}\n', ":1: seq must be 0, got 7"),
        (b'{"event":"run_began","schema":99,"seq":0}\n', "the log has schema 99"),
        (b'{"event":"run_began","schema":1e99,"seq":0}\n', "the log has schema 1e+99"),
        (b'{"event":"run_began","schema":"<b>","seq":0}\n', "schema '<b>'"),
        (b"\x1f\x8b\x08\x00" + bytes(99), "the gzipped data is damaged"),
        (b"\x1f\x8b", "is empty"),
    ],
)
def test_what_is_no_log_of_ours_is_refused_in_a_line(
    cli: Cli, data: bytes, text: str
) -> None:
    Path("other.jsonl").write_bytes(data)
    error = cli("check", "other.jsonl").error
    assert text in error
    assert len(error) < 300


def changed(log: Path, change: Callable[[Line], Any]) -> Path:
    """The log with some lines changed."""
    lines = lines_of(log)
    for line in lines:
        change(line)
    path = log.with_name("changed.jsonl")
    path.write_bytes(as_bytes(lines))
    return path


def test_gap_of_a_billion_is_refused_at_once(cli: Cli, logs: dict[str, Path]) -> None:
    def far_away(line: Line) -> None:
        if line["seq"] > 9:
            line["seq"] += 1_000_000_000

    path = changed(logs["holds"], far_away)
    error = cli("check", path).error
    assert error.endswith("changed.jsonl:11: seq must be 10, got 1000000010")


NAMES = [
    "<script>alert(1)</script>",
    """'"; DROP TABLE events; --""",
    "a\nb\r\nc",
    "\x1b[31mred\x1b]0;title\x07\x9b1m\x7f",
    "\u202eright to left\u2066\u200f",
    "::error::injected%0A",
    "]]>&amp;<!--",
    "# SKIP \\",
    "\u0000",
    "x" * 10_000_000,
]


@FORMATS
@pytest.mark.parametrize("name", NAMES, ids=[repr(name[:9]) for name in NAMES])
def test_name_from_a_log_is_shown_harmlessly(
    cli: Cli, logs: dict[str, Path], form: str, name: str
) -> None:
    def rename(line: Line) -> None:
        if line["event"] == "result_compared":
            line |= {"region": name, "actor": name}

    path = changed(logs["violation"], rename)
    outcome = cli("check", path, "--format", form)
    assert outcome.code == 1
    lines = outcome.out.split("\n")
    assert all(line.isprintable() for line in lines)
    if form == "json":
        assert outcome.json["violations"][0]["actor"] == name
    else:
        assert len(outcome.out) < 60_000
        assert not any(line.startswith("::error::injected") for line in lines)
    if form == "junit":
        ET.fromstring(outcome.out)  # noqa: S314 - our own
    if form == "tap":
        assert lines.count("not ok") == 0
        assert sum(line.startswith("not ok ") for line in lines) == 2


@pytest.mark.parametrize(
    "name", NAMES[:-1], ids=[repr(name[:9]) for name in NAMES[:-1]]
)
def test_name_in_what_is_wrong_is_shown_harmlessly(
    cli: Cli, logs: dict[str, Path], name: str
) -> None:
    for change in (
        lambda line: line.update(tool_version=name, schema=99),
        lambda line: line.update(schema=name),
        lambda line: line.update(event=name),
        lambda line: line.update({name: 1}) if line["seq"] else None,
        lambda line: line.update(seq=name) if line["seq"] else None,
        lambda line: line.update(must_exercise=[name]),
    ):
        error = cli("check", changed(logs["holds"], change)).error
        assert error.startswith("memslots: error: ")
        assert len(error) < 1_000


def test_rule_of_a_checker_that_is_not_ours_is_told(
    cli: Cli, logs: dict[str, Path]
) -> None:
    def blame(line: Line) -> None:
        if line["event"] == "run_ended":
            line["ending"] = "a task failed"
        if line["event"] == "result_compared":
            for key in ("call", "line", "region", "expected", "result"):
                del line[key]
            line |= {"event": "rule_was_broken", "checker": "<b>\x1b", "rule": "R"}
            line["text"] = "t"

    path = changed(logs["holds"], blame)
    for form in ("text", "json", "junit", "github", "tap"):
        outcome = cli("check", path, "--format", form)
        assert outcome.code == 1
        assert "\x1b" not in outcome.out
