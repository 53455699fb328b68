"""Whatever ends a run, its log can be read and says that it is not whole."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from memslots.slot_set import Memslots
from memslots.update import Update
from rcu.schedule.pool import open_pool
from rcu.schedule.task import Task
from scenarios.checkers.judge import Verdict
from scenarios.errors import InputError
from scenarios.logbook.check import check_log
from scenarios.logbook.writer import LogError, LogWriter
from scenarios.machine import Parts
from scenarios.planner import plan_for
from scenarios.runner import Plan, run, run_in_trio
from scenarios.strategies.by_name import STRATEGIES
from scenarios.strategies.random_walk import RandomWalk
from tests.scenarios.logbook.runs import lines_of, logged

MODES = pytest.mark.parametrize("mode", ["controlled", "trio"])


class Impatient:
    """A random walk that ends with Ctrl-C at the choice whose number is the seed."""

    patience = 0

    def __init__(self, seed: int) -> None:
        self._walk = RandomWalk(0)
        self._left = seed

    def begin(self, tasks: list[Task]) -> None:
        self._walk.begin(tasks)

    def pick(self, current: Task, ready: list[Task]) -> Task:
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt
        return self._walk.pick(current, ready)


class ImpatientUpdate(Update):
    """Presses Ctrl-C in the middle of a swap."""

    async def publish(self, as_id: int, slots: Memslots) -> None:
        raise KeyboardInterrupt


class WrongUpdate(Update):
    """Has a bug that is none of the modelled system's."""

    async def publish(self, as_id: int, slots: Memslots) -> None:
        raise ZeroDivisionError("a bug in somebody's part")


def assert_interrupted(path: Path) -> None:
    judgement = check_log(path)
    assert judgement.violations == ()
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reasons[0] == "the run is not whole: interrupted"


@pytest.mark.parametrize("step", [1, 2, 3, 50, 1_000, 3_000])
def test_control_c_at_any_step_leaves_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setitem(STRATEGIES, "impatient", Impatient)
    path, whole = tmp_path / "log.jsonl", tmp_path / "whole.jsonl"
    plan = plan_for("dual-set-swap")
    with pytest.raises(KeyboardInterrupt):
        logged(attrs.evolve(plan, strategy="impatient", seed=step), path)
    assert_interrupted(path)
    logged(plan, whole)
    made = lines_of(path)[1:-1]
    assert made == lines_of(whole)[1 : 1 + len(made)]
    assert lines_of(path)[-1]["step"] <= step


@MODES
def test_control_c_in_a_task_leaves_a_log(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "log.jsonl"
    parts = Parts(update=ImpatientUpdate)
    with pytest.raises(KeyboardInterrupt):
        logged(attrs.evolve(plan_for("dual-set-swap"), mode=mode, parts=parts), path)
    assert_interrupted(path)


@MODES
def test_a_bug_in_a_part_is_raised_and_its_log_does_not_hold(
    tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "log.jsonl"
    parts = Parts(update=WrongUpdate)
    with pytest.raises(ZeroDivisionError, match="a bug in somebody's part"):
        logged(attrs.evolve(plan_for("dual-set-swap"), mode=mode, parts=parts), path)
    judgement = check_log(path)
    assert judgement.verdict is not Verdict.HOLDS
    assert judgement.reasons[0] == "the run is not whole: interrupted"


def long_plan(mode: str) -> Plan:
    """A run of so many steps that the driver pauses in the middle of it."""
    return attrs.evolve(plan_for("q35-boot", vcpus=8), mode=mode)


@MODES
async def test_a_cancelled_run_leaves_a_log(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "log.jsonl"
    seen: list[int] = []
    with trio.CancelScope() as scope:

        def cancel(step: int) -> None:
            seen.append(step)
            scope.cancel()

        async with open_pool() as pool:
            await run_in_trio(
                long_plan(mode), pool, log=LogWriter(path), on_progress=cancel
            )
    assert scope.cancelled_caught
    assert seen
    assert_interrupted(path)
    assert lines_of(path)[-1]["step"] >= seen[0]


@MODES
def test_a_log_can_be_read_while_the_run_goes_on(tmp_path: Path, mode: str) -> None:
    path, half = tmp_path / "log.jsonl", tmp_path / "half.jsonl"
    reasons: list[tuple[str, int]] = []

    def look(step: int) -> None:
        if len(reasons) == 3:
            return
        half.write_bytes(path.read_bytes())
        judgement = check_log(half)
        assert judgement.verdict is Verdict.INCONCLUSIVE
        reasons.append((judgement.reasons[0], len(lines_of(half))))

    run(long_plan(mode), log=LogWriter(path), on_progress=look)
    assert len(reasons) > 1
    for reason, length in reasons:
        assert reason == f"the log is cut off after line {length}"
    assert check_log(path).verdict is Verdict.HOLDS


class SmallDisk(io.RawIOBase):
    """Takes so many bytes and no more."""

    def __init__(self, file: io.RawIOBase, room: int) -> None:
        self._file = file
        self._room = room

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data) or 0

    def close(self) -> None:
        self._file.close()
        super().close()


@MODES
@pytest.mark.parametrize("room", [0, 100, 2_000, 1_000_000])
def test_a_full_disk_is_told_as_such_and_what_was_written_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, room: int
) -> None:
    path = tmp_path / "log.jsonl"

    def small_disk(self: Path, how: str) -> io.BufferedWriter:
        # Closing it tries to write the rest once more.
        return io.BufferedWriter(SmallDisk(io.FileIO(self, how), room))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", small_disk)
        log = LogWriter(path)
    with pytest.raises(LogError) as raised:
        run(long_plan(mode), log=log)
    assert str(raised.value) == (
        f"cannot write the log {path}: No space left on device; what was written"
        " before is kept"
    )
    assert path.stat().st_size <= room
    if room > 2_000:
        assert check_log(path).verdict is Verdict.INCONCLUSIVE


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "log.jsonl"
    with pytest.raises(LogError) as raised:
        LogWriter(path)
    assert isinstance(raised.value, InputError)
    text = f"cannot write the log {path}: No such file or directory"
    assert str(raised.value) == text


def test_an_older_log_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("something else\n" * 10_000)
    logged(plan_for("dual-set-swap"), path)
    assert check_log(path).verdict is Verdict.HOLDS
