"""Runs that are drawn at once, and violations that always are."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.cli import drawing
from tests.scenarios.cli.calling import Cli
from tests.scenarios.cli.test_replay import KEPT, own  # noqa: F401 - a fixture


def test_a_run_draws_the_same_picture_as_its_log(cli: Cli) -> None:
    names = ("run", "lookup-and-delete", "--quiet", "--exit-zero")
    assert cli(*names, "--log", "run.jsonl", "--report", "run.html").code == 0
    assert cli("timeline", "run.jsonl", "-o", "log.html", "--quiet").code == 0
    assert Path("run.html").read_bytes() == Path("log.html").read_bytes()


def test_the_name_of_a_picture_says_its_format(cli: Cli) -> None:
    names = ("run", "lookup-and-delete", "--quiet", "--exit-zero")
    assert cli(*names, "--report", "run.svg").code == 0
    assert Path("run.svg").read_text().startswith("<svg")
    line = cli(*names, "--report", "run.doc").error
    assert "cannot tell the format of run.doc" in line


def test_a_picture_goes_to_no_file_that_is_used(cli: Cli) -> None:
    same = ("--log", "run.html", "--report", "run.html")
    assert "will not overwrite run.html" in cli("run", "lookup-and-delete", *same).error


def test_a_violation_is_drawn_beside_its_schedule(cli: Cli, own: Path) -> None:  # noqa: F811
    assert cli("run", own, "--schedule", "kept.json").out.endswith(
        "Replay: memslots replay kept.json\nPicture: kept.html\n"
    )
    assert "results-match" in Path("kept.html").read_text()


def test_what_somebody_keeps_there_is_not_overwritten(cli: Cli, own: Path) -> None:  # noqa: F811
    Path("kept.html").write_text("mine")
    outcome = cli("run", own, "--schedule", "kept.json")
    assert outcome.out.endswith("Replay: memslots replay kept.json\n")
    assert Path("kept.html").read_text() == "mine"


def test_a_run_that_is_too_long_is_not_made_again(
    cli: Cli,
    own: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drawing, "LONGEST", 3)
    assert "Picture" not in cli("run", own).out
    assert not KEPT.with_suffix(".html").exists()
