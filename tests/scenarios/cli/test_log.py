"""`log`: a log is asked, counted and compared."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios.logbook.schema import field_names
from tests.scenarios.cli.calling import HOLDS, Cli
from vcpus.tracepoints import SetDereferenced


@pytest.fixture
def log(cli: Cli) -> str:
    Path("own.toml").write_text(HOLDS)
    assert cli("run", "own.toml", "--log", "own.log", "-q").code == 0
    return "own.log"


def lines_of(log: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(log).read_text().splitlines()]


def edited(log: str, **changes: object) -> str:
    """The log with something else in each line; what it is called."""
    lines = lines_of(log)
    lines[-1].pop("crc32", None)
    changed = [lines[0], *(line | changes for line in lines[1:-1]), lines[-1]]
    for line in changed:
        line.pop("op", None)  # as in an older log: other actors, other operations
    Path("edited.log").write_text("".join(f"{json.dumps(line)}\n" for line in changed))
    return "edited.log"


# Query.


def test_an_answer_as_a_table_csv_and_json(cli: Cli, log: str) -> None:
    sql = (
        "SELECT actor, count(*) AS n, NULL AS nothing, true AS yes FROM events"
        " WHERE actor = 'setup' GROUP BY actor"
    )
    count = sum(line["actor"] == "setup" for line in lines_of(log))
    table = cli("log", "query", log, sql)
    assert table.code == 0
    assert table.out.splitlines()[0].split() == ["actor", "n", "nothing", "yes"]
    assert table.out.splitlines()[2].split() == ["setup", str(count), "true"]
    told = cli("log", "query", log, sql, "--format", "json")
    assert told.json == [{"actor": "setup", "n": count, "nothing": None, "yes": True}]
    told = cli("log", "query", log, sql, "--format", "csv")
    assert told.out == f"actor,n,nothing,yes\nsetup,{count},,true\n"


def test_an_answer_without_rows(cli: Cli, log: str) -> None:
    sql = "SELECT seq FROM events WHERE false"
    assert cli("log", "query", log, sql, "--format", "json").json == []
    assert cli("log", "query", log, sql, "--format", "csv").out == "seq\n"
    table = cli("log", "query", log, sql)
    assert (table.code, table.out) == (0, "")
    assert table.line == "memslots: nothing in the log is like that"


def test_columns_of_the_same_name_are_told_apart(cli: Cli, log: str) -> None:
    told = cli("log", "query", log, "SELECT 1 AS a, 2 AS a, 3 AS a", "--format", "json")
    assert told.json == [{"a": 1, "a_1": 2, "a_2": 3}]


def test_numbers_are_exact(cli: Cli, log: str) -> None:
    sql = "SELECT max(generation) AS g FROM swaps"
    expected = max(
        int(str(line["generation"]))
        for line in lines_of(log)
        if line["event"] == "sets_swapped"
    )
    assert expected >= 1 << 63
    assert cli("log", "query", log, sql, "--format", "json").json == [{"g": expected}]
    assert cli("log", "query", log, sql, "--format", "csv").out == f"g\n{expected}\n"


def shown(cli: Cli, log: str, *options: object) -> list[int]:
    told = cli("log", "query", log, *options, "--format", "json")
    assert told.code == 0, told.err
    return [row["seq"] for row in told.json]


def test_values_of_every_kind(cli: Cli, log: str) -> None:
    sql = (
        "SELECT 1.5 AS d, 'nan'::FLOAT AS n, [1, 2] AS l, {'a': DATE '2020-01-02'} AS s"
    )
    told = cli("log", "query", log, sql, "--format", "json")
    assert told.json == [{"d": 1.5, "n": None, "l": [1, 2], "s": {"a": "2020-01-02"}}]
    assert "[1, 2]" in cli("log", "query", log, sql).out
    told = cli("log", "query", log, sql, "--format", "csv")
    assert told.out == 'd,n,l,s\n1.5,nan,"[1, 2]","{""a"": ""2020-01-02""}"\n'


def test_short_questions(cli: Cli, log: str) -> None:
    lines = lines_of(log)[1:-1]
    actors = {"vcpu0", "setup"}
    assert shown(cli, log) == [line["seq"] for line in lines]
    assert shown(cli, log, "--event", "set_dereferenced") == [
        line["seq"] for line in lines if line["event"] == "set_dereferenced"
    ]
    assert shown(cli, log, "--actor", "vcpu0", "--actor", "setup") == [
        line["seq"] for line in lines if line["actor"] in actors
    ]
    assert shown(cli, log, "--since", 3, "--until", 9) == [
        line["seq"] for line in lines if 3 <= int(str(line["step"])) <= 9
    ]
    assert shown(cli, log, "--around", 10, "--context", 2) == [8, 9, 10, 11, 12]
    assert shown(cli, log, "--around", 10) == [*range(5, 16)]
    assert shown(cli, log, "--around", 2) == [*range(1, 8)]
    assert shown(cli, log, "--around", 10, "--context", 0) == [10]


def test_short_questions_show_all_fields(cli: Cli, log: str) -> None:
    told = cli("log", "query", log, "--event", "set_dereferenced", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(told.out)))
    assert [*rows[0]] == ["seq", "step", "actor", "op", "event", "fields"]
    for row in rows:
        assert tuple(json.loads(row["fields"])) == field_names(SetDereferenced)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--event", "set_swapped"], "did you mean sets_swapped?"),
        (["--event", "x"], "there is no such event; see"),
        (["--context", 3], "--context: there is nothing to be around"),
        (["SELECT 1", "--actor", "x"], "give SQL or options that choose events"),
        (["SELECT * FROM happenings"], "there are events, sections, grace_periods,"),
        (["SELECT x FROM locks"], "locks has lock, actor, shared, acquired_seq,"),
        (["COPY events TO 'x'"], "a log can only be asked, not COPY"),
        (["SELECT * FROM 'own.csv'"], "the SQL asks for more than the log"),
        (["SELECT * FROM read_csv('own.toml')"], "asks for more than the log"),
        (["ATTACH 'x'"], "a log can only be asked, not ATTACH"),
        (["INSTALL httpfs"], "a log can only be asked, not LOAD"),
        (["\x1b[31m"], "syntax error"),
        ([""], "a log can only be asked, not nothing"),
        (["--since", -1], "Must be >= 0"),
        (["--format", "xml"], "--format"),
    ],
)
def test_what_cannot_be_answered_is_told_in_a_line(
    cli: Cli, log: str, arguments: list[object], text: str
) -> None:
    before = sorted(Path().iterdir())
    assert text in cli("log", "query", log, *arguments).error
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("command", ["query", "stats"])
def test_what_is_no_log_is_told_in_a_line(cli: Cli, log: str, command: str) -> None:
    Path("other.json").write_text('{"a": 1}\n')
    assert cli("log", command, "other.json").error.startswith(
        "memslots: error: other.json:1: "
    )
    assert "No such file" in cli("log", command, "none.log").error
    assert "No such file" in cli("log", "diff", log, "none.log").error
    assert "other.json:1: " in cli("log", "diff", "other.json", log).error


EVIL = "\x1b[31m\x9b5m<script>\n'\"\u202e\x00x"


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_nothing_from_a_log_steers_the_terminal(cli: Cli, log: str, form: str) -> None:
    told = cli("log", "query", edited(log, actor=EVIL), "--format", form)
    assert told.code == 0, told.err
    assert all(char == "\n" or char.isprintable() for char in told.out)
    if form == "json":
        assert {row["actor"] for row in told.json} == {EVIL}
    for other in (("stats", "edited.log"), ("diff", log, "edited.log")):
        told = cli("log", *other)
        assert not told.err
        assert all(char == "\n" or char.isprintable() for char in told.out)


def test_a_string_of_10_mb_is_cut(cli: Cli, log: str) -> None:
    lines = lines_of(log)
    lines[3]["actor"] = "x" * 10_000_000
    lines[-1].pop("crc32", None)
    Path("long.log").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    told = cli("log", "query", "long.log", "--around", 3, "--context", 0)
    assert told.code == 0
    assert len(told.out) < 5_000


def test_standard_input(cli: Cli, log: str, tmp_path: Path) -> None:
    data = (tmp_path / log).read_bytes()
    for arguments in (
        ["query", "-", "SELECT count(*) FROM events"],
        ["diff", "-", log],
    ):
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "scenarios.cli.main", "log", *arguments],
            input=data,
            capture_output=True,
            check=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(__file__).parents[3])},
        )
        assert str(len(data.splitlines()) - 2) in done.stdout.decode()


def test_duckdb_is_imported_only_to_ask(cli: Cli, log: str, tmp_path: Path) -> None:
    script = (
        "import sys; from scenarios.cli.main import main;"
        " main(['log', 'diff', 'own.log', 'own.log']);"
        " main(['log', 'lnav-format']); print('duckdb' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.stdout.endswith(b"False\n")


# Statistics.


def test_statistics(cli: Cli, log: str) -> None:
    told = cli("log", "stats", log, "--format", "json").json
    lines = lines_of(log)
    began = sum(line["event"] == "section_began" for line in lines)
    assert told["log"] == log
    assert told["sections"]["count"] == began
    assert sum(each["count"] for each in told["sections"]["bins"]) == began
    assert told["impossible_ages"] == 0
    text = cli("log", "stats", log).out
    assert text.startswith("own.log\n\nread sections: ")
    assert "\u2588" in text
    assert "!!!" not in text


def test_an_impossible_age_is_marked(cli: Cli, log: str) -> None:
    lines = lines_of(log)
    swapped = next(n for n, line in enumerate(lines) if line["event"] == "sets_swapped")
    read: dict[str, object] = {"as_id": 0, "set": 0}
    own: list[dict[str, object]] = [
        {"event": "section_began", "domain": "kvm->srcu", "srcu_idx": 0},
        {"event": "set_dereferenced"} | read,
        {"event": "sets_swapped", "as_id": 0, "set": 1, "generation": 1},
        {"event": "sets_swapped"} | read | {"generation": 2},
        {"event": "section_ended", "domain": "kvm->srcu", "srcu_idx": 0},
    ]
    lines = [*lines[:swapped], *({"step": 9, "actor": "late"} | each for each in own)]
    placed = [line | {"seq": seq} for seq, line in enumerate(lines)]
    Path("late.log").write_text("".join(f"{json.dumps(line)}\n" for line in placed))
    text = cli("log", "stats", "late.log").out
    (marked,) = [line for line in text.splitlines() if "!!!" in line]
    assert marked.split()[0] == "2"


# Comparison.


def test_a_log_and_itself(cli: Cli, log: str) -> None:
    count = len(lines_of(log)) - 2
    told = cli("log", "diff", log, log)
    assert (told.code, told.err) == (0, "")
    assert told.out == f"the same: {count:,} records, ended: completed\n"
    assert cli("log", "diff", log, log, "--format", "json").json["equal"] is True


def test_two_runs_side_by_side(cli: Cli, log: str) -> None:
    assert cli("run", "own.toml", "--seed", 1, "--log", "b.log", "-q").code == 0
    told = cli("log", "diff", log, "b.log", "--context", 2)
    assert told.code == 1
    parting = cli("log", "diff", log, "b.log", "--context", 2, "--format", "json")
    assert parting.code == 1
    seq = parting.json["seq"]
    lines = told.out.splitlines()
    assert lines[0] == "  seed: 0 and 1"
    middle = next(n for n, line in enumerate(lines) if line.startswith("\u2500"))
    for line in lines[middle - 2 : middle]:
        left, right = line.split(" \u2502 ")
        assert left.rstrip() == right
    assert lines[middle + 1].startswith(f"{seq} s")
    assert any(line.startswith(f"they part at seq {seq}") for line in lines)


# lnav.


def test_format_for_lnav(cli: Cli) -> None:
    told = cli("log", "lnav-format")
    assert told.code == 0
    (form,) = (value for key, value in told.json.items() if key != "$schema")
    assert form["json"] is True
    assert form["opid-field"] == "op"
