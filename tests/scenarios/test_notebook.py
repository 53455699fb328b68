"""What a notebook shows of a run and of its log."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import duckdb
import pytest

from scenarios.errors import InputError
from scenarios.notebook import Log, log_of
from scenarios.planner import plan_for
from scenarios.runner import run
from tests.scenarios.logbook.runs import lines_of, logged, plans, write_lines


def svg_of(html: str) -> ET.Element:
    inner = html[html.index("<svg") : html.rindex("</div>")]
    return ET.fromstring(inner)  # noqa: S314 - our own


def test_a_run_and_its_log_show_the_same_picture(tmp_path: Path) -> None:
    for name in ("holds in a small scenario", "violation", "deadlock"):
        result = run(plans()[name])
        log = log_of(result, tmp_path / "log.jsonl")
        shown = result._repr_html_()
        assert shown == log._repr_html_()
        assert svg_of(shown).tag.endswith("svg")


def test_what_it_looks_like_stays_in_the_picture() -> None:
    shown = run(plan_for("dual-set-swap"))._repr_html_()
    assert shown.count("<style>") == shown.count("<style>@scope{") == 1
    assert "<script" not in shown


def test_log_of_a_run_is_its_log(tmp_path: Path) -> None:
    plan = plans()["holds in a small scenario"]
    result = logged(plan, tmp_path / "first.jsonl")
    log_of(result, tmp_path / "again.jsonl")
    first, again = (lines_of(tmp_path / f"{n}.jsonl") for n in ("first", "again"))
    assert first[1:-1] == again[1:-1]


def test_a_log_answers_as_a_relation_and_as_arrow(tmp_path: Path) -> None:
    logged(plans()["holds in a small scenario"], tmp_path / "log.jsonl")
    log = Log(tmp_path / "log.jsonl")
    records = len(lines_of(log.path)) - 2
    answer = log.query("SELECT event, count(*) AS n FROM events GROUP BY event")
    assert sum(count for _, count in answer.fetchall()) == records
    assert len(log.table("sections").fetchall()) > 0
    assert duckdb.from_arrow(log).shape == (records, 6)


def test_a_notebook_can_ask_no_more_than_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    logged(plans()["holds in a small scenario"], tmp_path / "log.jsonl")
    log = Log(tmp_path / "log.jsonl")
    for sql in ("SELECT * FROM read_text('log.jsonl')", "COPY events TO 'x'"):
        with pytest.raises(InputError):
            log.query(sql)
    with pytest.raises(InputError):
        log.table('events" JOIN "sections')
    with pytest.raises(duckdb.PermissionException):
        log.table().write_csv("written.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_names_from_a_log_are_shown_harmlessly(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    logged(plans()["holds in a small scenario"], path)
    lines = lines_of(path)
    lines[0]["scenario"] = "<script>alert(1)</script>"
    lines[-1].pop("crc32", None)
    for line in lines[1:-1]:
        if line["actor"] == "setup":
            line["actor"] = '"><img src=x onerror=alert(1)>'
    write_lines(path, lines)
    shown = Log(path)._repr_html_()
    assert "<script" not in shown
    assert "<img" not in shown
    svg_of(shown)
