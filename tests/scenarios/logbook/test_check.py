"""A log is judged from the log alone, as the run was while it went on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenarios.logbook.lines
from scenarios.checkers.judge import Verdict
from scenarios.errors import InputError
from scenarios.logbook.check import check_log
from scenarios.planner import plan_for
from tests.scenarios.logbook.runs import Line, lines_of, logged, plans, write_lines

PLANS = plans()

VERDICTS = {
    "holds": Verdict.HOLDS,
    "holds in a trace": Verdict.HOLDS,
    "holds in a small scenario": Verdict.HOLDS,
    "violation": Verdict.VIOLATION,
    "a task fails": Verdict.VIOLATION,
    "deadlock": Verdict.VIOLATION,
    "budget": Verdict.INCONCLUSIVE,
    "trio decides": Verdict.HOLDS,
}


@pytest.mark.parametrize("name", PLANS)
def test_a_log_is_judged_as_the_run_was(tmp_path: Path, name: str) -> None:
    path = tmp_path / "log.jsonl"
    online = logged(PLANS[name], path).judgement
    assert check_log(path) == online
    assert online.verdict is VERDICTS[name]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", ["holds", "violation", "deadlock"])
def test_logs_of_other_seeds_are_judged_as_the_runs_were(
    tmp_path: Path, name: str, seed: int
) -> None:
    path = tmp_path / "log.jsonl"
    online = logged(attrs.evolve(PLANS[name], seed=seed), path).judgement
    assert check_log(path) == online


def test_answers_that_no_order_explains_are_in_the_log(tmp_path: Path) -> None:
    calls = """\
1 ioctl(9, KVM_SET_USER_MEMORY_REGION, {slot=1, flags=0, guest_phys_addr=0, \
memory_size=4096, userspace_addr=0x7f0000000000} <unfinished ...>
2 ioctl(9, KVM_SET_USER_MEMORY_REGION, {slot=2, flags=0, guest_phys_addr=0, \
memory_size=4096, userspace_addr=0x7f0000000000} <unfinished ...>
1 <... ioctl resumed>) = 0
2 <... ioctl resumed>) = 0
"""
    trace, log = tmp_path / "both-succeed.strace", tmp_path / "log.jsonl"
    trace.write_text(calls)
    online = logged(plan_for(str(trace), vcpus=1), log).judgement
    assert check_log(log) == online
    assert online.verdict is Verdict.VIOLATION
    assert [each.result for each in online.mismatches] == ["EEXIST"]
    (violation,) = online.violations
    assert violation.seen.startswith("no order explains the answers of the first 2")


@pytest.fixture(scope="module")
def small_logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Line]]:
    """Lines of short logs: one that holds, one of a deadlock, one of a failed task."""
    logs = {}
    for name in ("holds in a small scenario", "deadlock", "a task fails"):
        path = tmp_path_factory.mktemp("logs") / "log.jsonl"
        logged(PLANS[name], path)
        logs[name] = lines_of(path)
    return logs


SMALL = pytest.mark.parametrize(
    "name", ["holds in a small scenario", "deadlock", "a task fails"]
)


@SMALL
def test_a_line_that_is_dropped_is_noticed(
    tmp_path: Path, small_logs: dict[str, list[Line]], name: str
) -> None:
    lines = small_logs[name]
    path = tmp_path / "log.jsonl"
    for place in range(len(lines) - 1):
        write_lines(path, lines[:place] + lines[place + 1 :])
        with pytest.raises(InputError, match=f":{place + 1}: "):
            check_log(path)


@SMALL
def test_a_line_that_is_doubled_is_noticed(
    tmp_path: Path, small_logs: dict[str, list[Line]], name: str
) -> None:
    lines = small_logs[name]
    path = tmp_path / "log.jsonl"
    for place in range(len(lines)):
        write_lines(path, lines[: place + 1] + lines[place:])
        with pytest.raises(InputError, match=f":{place + 2}: "):
            check_log(path)


@SMALL
def test_a_log_that_ends_early_is_not_whole(
    tmp_path: Path, small_logs: dict[str, list[Line]], name: str
) -> None:
    lines = small_logs[name]
    path = tmp_path / "log.jsonl"
    whole = logged(PLANS[name], path).judgement
    for length in range(1, len(lines)):
        write_lines(path, lines[:length])
        judgement = check_log(path)
        assert judgement.reasons[0] == f"the log is cut off after line {length}"
        assert judgement.verdict is not Verdict.HOLDS
        assert set(judgement.violations) <= set(whole.violations)


def test_half_a_line_at_the_end_is_left_out(
    tmp_path: Path, small_logs: dict[str, list[Line]]
) -> None:
    lines = small_logs["holds in a small scenario"]
    path = tmp_path / "log.jsonl"
    write_lines(path, lines)
    data = path.read_bytes()
    for cut in (2, 10, 30):
        path.write_bytes(data[:-cut])
        judgement = check_log(path)
        reason = f"the log is cut off after line {len(lines) - 1}"
        assert judgement.reasons == (reason,)
        assert judgement.verdict is Verdict.INCONCLUSIVE


other_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 6),
    st.sampled_from([1 << 63, (1 << 63) - 1, -(1 << 63), 1e300, 0.5, "", "x", [], {}]),
    st.lists(st.integers(0, 2), max_size=2),
)


def changed(lines: list[Line], data: st.DataObject) -> list[Line]:
    """The lines with one value changed, or one key taken out or put in."""
    place = data.draw(st.integers(0, len(lines) - 1))
    line = dict(lines[place])
    key = data.draw(st.sampled_from([*line, "more"]))
    if key in line and data.draw(st.integers(0, 3)) == 0:
        del line[key]
    else:
        values: st.SearchStrategy[Any] = other_values
        if key == "event":
            values = st.sampled_from([each["event"] for each in lines])
        line[key] = data.draw(values)
    return [*lines[:place], line, *lines[place + 1 :]]


def verdict_of(path: Path) -> Verdict | None:
    """The verdict; None if the log is refused."""
    try:
        return check_log(path).verdict
    except InputError:
        return None


@SMALL
@given(data=st.data())
@settings(max_examples=150)
def test_a_changed_log_is_refused_or_judged_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory,
    small_logs: dict[str, list[Line]],
    name: str,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.jsonl"
    write_lines(path, changed(small_logs[name], data))
    verdict = verdict_of(path)
    if name != "holds in a small scenario":
        assert verdict is not Verdict.HOLDS


@pytest.mark.parametrize(
    "ending", ["a task failed", "deadlock", "interrupted", "completely fine", ""]
)
def test_a_log_that_gives_no_reason_for_its_ending_does_not_hold(
    tmp_path: Path, small_logs: dict[str, list[Line]], ending: str
) -> None:
    lines = small_logs["holds in a small scenario"]
    path = tmp_path / "log.jsonl"
    write_lines(path, [*lines[:-1], lines[-1] | {"ending": ending}])
    judgement = check_log(path)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    told = ending or "of unknown ending"
    assert judgement.reasons == (f"the run is not whole: {told}",)


HEADER: Line = {
    "seq": 0,
    "step": 0,
    "actor": "",
    "event": "run_began",
    "schema": 1,
    "tool_version": "9.9",
    "must_exercise": [],
}
BEGAN = {"event": "section_began", "domain": "srcu", "srcu_idx": 0}
FIRST: Line = {"seq": 1, "step": 1, "actor": "a"} | BEGAN
SWAPPED = {"event": "sets_swapped", "as_id": 0, "set": 1, "generation": 1}


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([FIRST], ":1: a log begins with run_began"),
        ([HEADER | {"schema": 2}], ": the log has schema 2, this version reads 1"),
        ([HEADER | {"schema": 2}], "with the version that wrote it (9.9)"),
        ([HEADER | {"must_exercise": 5}], ":1: must_exercise must be a list, got 5"),
        ([HEADER | {"must_exercise": ["x"]}], ":1: unknown checker 'x'"),
        ([HEADER | {"must_exercise": [[]]}], ":1: unknown checker []"),
        ([HEADER, FIRST | {"seq": 2}], ":2: seq must be 1, got 2"),
        (
            [HEADER, FIRST | {"step": "x"}],
            ":2: step and op must be numbers, actor a name",
        ),
        (
            [HEADER, FIRST | {"actor": 5}],
            ":2: step and op must be numbers, actor a name",
        ),
        ([HEADER, {"seq": 1, "step": 1}], ":2: key 'actor' is missing"),
        ([HEADER, FIRST | {"event": "x"}], ":2: unknown event 'x'"),
        ([HEADER, FIRST | {"colour": 1}], ":2: section_began has no colour"),
        (
            [HEADER, {key: FIRST[key] for key in FIRST if key != "domain"}],
            ":2: section_began lacks 'domain'",
        ),
        ([HEADER, FIRST | SWAPPED], ":2: sets_swapped has no domain, srcu_idx"),
    ],
)
def test_a_line_that_is_wrong_is_named(
    tmp_path: Path, lines: list[Line], text: str
) -> None:
    path = tmp_path / "log.jsonl"
    write_lines(path, lines)
    with pytest.raises(InputError) as raised:
        check_log(path)
    assert str(raised.value).startswith(f"{path}:")
    assert text in str(raised.value)


def test_events_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    line = {"seq": 1, "step": 1, "actor": "a"} | SWAPPED
    write_lines(path, [HEADER, line])
    with pytest.raises(InputError, match=r"contradict.*KeyError\(0\)"):
        check_log(path)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ": the log is empty"),
        (b"{}", ":1: "),
        (b"\x00\xff\n", ":1: not a"),
        (b"[" * 100_000 + b"\n", ":1: not a"),
        (b"5\n", ":1: not a"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, data: bytes, text: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(data)
    with pytest.raises(InputError) as raised:
        check_log(path)
    assert str(raised.value).startswith(f"{path}{text}")


def test_progress_is_told_in_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    logged(plan_for("dual-set-swap"), path)
    told: list[int] = []
    check_log(path, told.append)
    assert told == sorted(told)
    assert told[-1] == len(path.read_bytes().splitlines())


def test_a_line_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenarios.logbook.lines, "MAX_LINE_BYTES", 1_000)
    monkeypatch.setattr(scenarios.logbook.lines, "PIECE", 100)
    path = tmp_path / "log.jsonl"
    write_lines(path, [HEADER, FIRST | {"actor": "x" * 2_000}])
    with pytest.raises(InputError, match=r":2: the line is too long$"):
        check_log(path)


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        check_log(tmp_path / "nowhere.jsonl")
    with pytest.raises(InputError, match="directory"):
        check_log(tmp_path)
