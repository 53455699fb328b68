"""The list of survivors is about lines that exist, and the page shows all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cattrs.errors import ClassValidationError

from tests.architecture.pages import ROOT
from tests.mutation import page
from tests.mutation.judging import Fate
from tests.mutation.kept import Kept
from tests.mutation.survivors import Survivor, known
from tests.mutation.targets import TARGETS

TEXT = """\
[[survivor]]
module = "rcu/locks.py"
function = "Lock.held"
operator = "AddNot"
before = "return a | b"
after = "return not a | b"
why = "both"
equivalent = true
"""
SURVIVOR = Survivor(
    "rcu/locks.py",
    "Lock.held",
    "AddNot",
    "return a | b",
    "return not a | b",
    "both",
    equivalent=True,
)


def test_the_list_is_read() -> None:
    assert known(TEXT) == [SURVIVOR]
    with pytest.raises(ClassValidationError):
        known(TEXT.replace("equivalent", "killed"))


def test_each_survivor_is_a_change_of_a_line_that_is_there() -> None:
    modules = {target.module for target in TARGETS}
    for each in known():
        assert each.module in modules
        text = (ROOT / each.module).read_text()
        lines = {line.strip() for line in text.splitlines()}
        assert each.before in lines, each
        assert each.before != each.after, each
        *_, name = each.function.split(".")
        assert re.search(rf"\b(def|class) {name}\b", text) or not name, each


def test_each_survivor_is_listed_once_and_explained_in_a_line() -> None:
    listed = known()
    assert len({str(each) for each in listed}) == len(listed)
    for each in listed:
        assert each.why, each
        assert "\n" not in each.why, each


def test_the_page_shows_the_list() -> None:
    text = page.PAGE.read_text()
    lines = page.survivors(known())
    assert text == page.with_part(text, "survivors", lines), (
        "docs/reference/mutation-score.md does not show survivors.toml:"
        " run python -m tests.mutation.page"
    )


def test_a_survivor_is_a_row() -> None:
    assert page.survivors([SURVIVOR]) == [
        "### rcu/locks.py",
        "",
        "| in | change | kind | why |",
        "| --- | --- | --- | --- |",
        "| `Lock.held` | `return a \\| b` → `return not a \\| b` | equivalent | both |",
    ]


def test_a_page_without_its_markers_is_refused() -> None:
    text = "a\n<!-- recorded: score -->\nold\n<!-- end: score -->\nb\n"
    shown = "a\n<!-- recorded: score -->\n\nnew\n\n<!-- end: score -->\nb\n"
    assert page.with_part(text, "score", ["new"]) == shown
    with pytest.raises(ValueError, match="the markers of survivors are missing"):
        page.with_part(text, "survivors", ["new"])


def test_what_became_of_mutants_is_kept_for_the_same_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.mutation.kept.FOLDER", tmp_path / "kept")
    kept = Kept("rcu/locks.py", "text")
    assert kept.read() == {}
    kept.write({2: Fate.SURVIVED, 0: Fate.KILLED})
    kept.write({1: Fate.TIMED_OUT, 2: Fate.KILLED})
    assert kept.read() == {0: Fate.KILLED, 1: Fate.TIMED_OUT, 2: Fate.KILLED}
    assert Kept("rcu/locks.py", "other").read() == {}
    assert Kept("rcu/rcuwait.py", "text").read() == {}
