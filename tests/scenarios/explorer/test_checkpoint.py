"""A checkpoint is taken only for what it is, and a real kill loses little."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import attrs
import msgspec
import pytest

from scenarios.errors import InputError
from scenarios.explorer import checkpoint as keeping
from scenarios.explorer.checkpoint import read_checkpoint
from scenarios.explorer.delete_under_srcu import DeleteUnderSrcu
from scenarios.explorer.exploration import Answer, Question
from scenarios.explorer.explore import explore
from tests.scenarios.explorer.broken_deletes import BROKEN, BrokenDelete

QUESTION = Question(strategy="exhaustive")


class OneReader(DeleteUnderSrcu):
    """The protocol with one reader, by another name."""

    name = "one-reader"
    digest = "1"

    def __init__(self) -> None:
        super().__init__(1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    explore(OneReader(), QUESTION, checkpoint=path, slice_for=0)
    return path


def refusal(path: Path, question: Question = QUESTION) -> str:
    with pytest.raises(InputError) as refused:
        read_checkpoint(path, OneReader(), question)
    text = str(refused.value)
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def test_checkpoint_says_what_was_asked_and_how_it_is_cut(path: Path) -> None:
    kept = read_checkpoint(path, OneReader())
    assert kept.asked() == QUESTION
    assert kept.asked(3.5) == attrs.evolve(QUESTION, time_limit=3.5)
    assert kept.cut().width == 8


def test_checkpoint_of_a_search_that_is_over_gives_its_answer(path: Path) -> None:
    first = explore(OneReader(), QUESTION)
    kept = read_checkpoint(path, OneReader(), QUESTION)
    again = explore(OneReader(), kept.asked(), resume=kept, checkpoint=path)
    assert again.seconds > kept.seconds
    assert attrs.evolve(again, seconds=0) == attrs.evolve(first, seconds=0)


def test_checkpoint_that_was_cut_in_half_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(path).startswith("not a checkpoint, or only a part of one (")


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"# no checkpoint", b"\x80"])
def test_file_that_is_no_checkpoint_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refusal(path).startswith("not a checkpoint")


def test_missing_checkpoint_is_refused(path: Path) -> None:
    path.unlink()
    assert refusal(path) == "No such file or directory"


def test_checkpoint_of_another_version_is_refused(path: Path) -> None:
    told = msgspec.msgpack.decode(path.read_bytes())
    path.write_bytes(msgspec.msgpack.encode(told | {"version": 2}))
    assert refusal(path).startswith("a checkpoint of version 2, this program reads 1;")


def test_checkpoint_of_another_tool_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "TOOL_VERSION", "9.9")
    assert "was written by memslots 0.1.0, not 9.9" in refusal(path)


def test_checkpoint_of_another_question_is_refused(path: Path) -> None:
    question = attrs.evolve(QUESTION, max_fail=3)
    assert "asks for max_fail=1, not max_fail=3" in refusal(path, question)


def test_another_limit_of_time_is_no_other_question(path: Path) -> None:
    question = attrs.evolve(QUESTION, time_limit=60.0)
    assert read_checkpoint(path, OneReader(), question).asked() == QUESTION


def test_checkpoint_of_another_program_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OneReader, "digest", "2")
    assert "is of another version of 'one-reader', or of the model" in refusal(path)
    monkeypatch.setattr(OneReader, "name", "other")
    assert "is of 'one-reader', not of 'other'" in refusal(path)


def test_checkpoint_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "checkpoint"
    with pytest.raises(InputError, match=r"cannot write .*: No such file or directory"):
        explore(OneReader(), QUESTION, checkpoint=path, slice_for=0)


def test_nothing_is_left_beside_the_checkpoint(path: Path) -> None:
    assert [each.name for each in path.parent.iterdir()] == ["checkpoint"]


KILLED = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.scenarios.explorer.test_checkpoint import go_on

def replace(*paths, replace=os.replace):
    replace(*paths)
    os.kill(os.getpid(), signal.SIGKILL)

os.replace = replace
go_on(Path(sys.argv[1]))
"""
"""Goes on until it has written a checkpoint, and has no time for anything else."""

LONG = BrokenDelete(BROKEN["NO_SYNC2"], 3)
ALL = Question(strategy="exhaustive", max_fail=0)


def go_on(path: Path) -> Answer:
    """Search from where the checkpoint is, if there is one."""
    resume = read_checkpoint(path, LONG, ALL) if path.exists() else None
    return explore(LONG, ALL, checkpoint=path, resume=resume, slice_for=0.05)


@pytest.mark.slow
def test_search_that_is_really_killed_gives_the_same_answer(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    for _ in range(5):
        before = path.read_bytes() if path.exists() else b""
        killed = subprocess.run([sys.executable, "-c", KILLED, path], check=False)  # noqa: S603
        assert killed.returncode == -signal.SIGKILL
        assert path.read_bytes() != before
    resumed = go_on(path)
    whole = explore(LONG, ALL)
    assert attrs.evolve(resumed, seconds=0) == attrs.evolve(whole, seconds=0)
