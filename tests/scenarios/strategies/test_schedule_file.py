"""The order of a run is kept in a file that is read back as it was."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.errors import InputError
from scenarios.planner import plan_for
from scenarios.runner import run
from scenarios.schedule_file import Schedule, in_turns, read_schedule, write_schedule

SCHEDULE = Schedule(
    tool_version="0",
    source="dual-set-swap",
    scenario_digest="abc",
    vm="",
    vcpus=3,
    strategy="random",
    seed=4,
    mode="controlled",
    verdict="holds",
    tasks=("a", "b"),
    steps=((0, 2), (1, 1), (0, 5)),
)


@given(st.lists(st.integers(0, 4)))
def test_turns_are_counted_and_told_again(order: list[int]) -> None:
    turns = in_turns(order)
    again = msgspec.structs.replace(SCHEDULE, steps=turns).order()
    assert again == order
    assert all(count > 0 for _, count in turns)
    assert all(a != b for (a, _), (b, _) in itertools.pairwise(turns))


def test_a_schedule_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "schedule.json"
    write_schedule(path, SCHEDULE)
    assert read_schedule(path) == SCHEDULE
    assert path.read_bytes().endswith(b"}\n")


def test_a_run_that_was_kept_happens_again(tmp_path: Path) -> None:
    plan = attrs.evolve(plan_for("dual-set-swap"), mode="trio")
    made = run(plan)
    path = tmp_path / "schedule.json"
    kept = msgspec.structs.replace(
        SCHEDULE, tasks=made.tasks, steps=in_turns(made.order)
    )
    write_schedule(path, kept)
    again = run(plan, order=read_schedule(path).order())
    assert (again.order, again.judgement) == (made.order, made.judgement)


def as_json(**changes: Any) -> str:
    return json.dumps(msgspec.to_builtins(SCHEDULE) | changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a schedule"),
        ("5", "not a schedule"),
        ("{}", "not a schedule"),
        (as_json(format="x"), "not a schedule"),
        (as_json(version=2), "a schedule of version 2, this program reads 1"),
        (as_json(colour="red"), "not a schedule"),
        (as_json(seed="4"), "not a schedule"),
        (as_json(steps=[[2, 1]]), "steps[0]: task 2 makes 1 steps; there are 2 tasks"),
        (as_json(steps=[[0, 1], [-1, 1]]), "steps[1]: task -1 makes 1 steps"),
        (as_json(steps=[[0, 0]]), "steps[0]: task 0 makes 0 steps"),
    ],
)
def test_what_is_no_schedule_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "schedule.json"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        read_schedule(path)
    assert str(raised.value).startswith(f"{path}: {said}")


def test_a_schedule_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json: No such file"):
        read_schedule(tmp_path / "nowhere.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write "):
        write_schedule(tmp_path / "file" / "schedule.json", SCHEDULE)
