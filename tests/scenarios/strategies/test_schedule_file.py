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
from scenarios.schedule_file import (
    Expected,
    Schedule,
    in_turns,
    read_schedule,
    with_operations,
    write_schedule,
)

SCHEDULE = Schedule(
    tool_version="0",
    source="dual-set-swap",
    scenario_digest="abc",
    model_digest="def",
    vm="",
    vcpus=3,
    strategy="random",
    seed=4,
    mode="controlled",
    verdict="holds",
    finding=Expected("deadlock", "b waits"),
    tasks=("a", "b"),
    operations=("read x", "write x"),
    steps=((0, (0, 1)), (1, (1,)), (0, 5)),
)


@given(st.lists(st.integers(0, 4)))
def test_turns_are_counted_and_told_again(order: list[int]) -> None:
    turns = in_turns(order)
    again = msgspec.structs.replace(SCHEDULE, steps=turns).order()
    assert again == order
    assert all(count > 0 for _, count in turns)
    assert all(a != b for (a, _), (b, _) in itertools.pairwise(turns))


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["a", "b", "c"]))))
def test_operations_are_kept_in_a_table_and_told_again(
    steps: list[tuple[int, str]],
) -> None:
    order, does = [task for task, _ in steps], [op for _, op in steps]
    operations, turns = with_operations(order, does)
    again = msgspec.structs.replace(SCHEDULE, operations=operations, steps=turns)
    assert again.order() == order
    assert again.does() == does
    assert operations == tuple(dict.fromkeys(does))


def test_operations_of_a_very_long_run_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scenarios.schedule_file.MOST_OPERATIONS", 3)
    assert with_operations([0, 0, 1], "aba") == (("a", "b"), ((0, (0, 1)), (1, (0,))))
    operations, turns = with_operations([0, 0, 1, 1], "abab")
    assert (operations, turns) == (None, ((0, 2), (1, 2)))
    again = msgspec.structs.replace(SCHEDULE, operations=None, steps=turns)
    assert again.does() == [None] * 4


def test_a_turn_may_have_counted_operations_only() -> None:
    assert SCHEDULE.order() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert SCHEDULE.does() == ["read x", "write x", "write x", *[None] * 5]


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
        (as_json(version=1), "a schedule of version 1, this program reads 2"),
        (as_json(version=3), "a schedule of version 3, this program reads 2"),
        (as_json(colour="red"), "not a schedule"),
        (as_json(seed="4"), "not a schedule"),
        (as_json(steps=[[2, 1]]), "steps[0]: task 2 makes 1 steps; there are 2 tasks"),
        (as_json(steps=[[0, 1], [-1, 1]]), "steps[1]: task -1 makes 1 steps"),
        (as_json(steps=[[0, 0]]), "steps[0]: task 0 makes 0 steps"),
        (as_json(steps=[[0, []]]), "steps[0]: task 0 makes 0 steps"),
        (as_json(steps=[[0, [1, 2]]]), "steps[0]: operation 2 is made; there are 2"),
        (as_json(steps=[[1, [-1]]]), "steps[0]: operation -1 is made"),
        (as_json(operations=None), "steps[0]: operation 0 is made; there are 0"),
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
