"""Whatever happens to a log on its way: it is still right, or somebody notices."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scenarios.checkers.judge import Judgement, Verdict
from scenarios.errors import InputError
from scenarios.logbook.check import check_log
from scenarios.logbook.reader import LogReader
from tests.scenarios.logbook.runs import Line, as_bytes, lines_of, logged, plans

PLANS = plans()
OLDER = Path(__file__).with_name("older.jsonl")
NAMES = ("holds in a small scenario", "deadlock", "a task fails")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    made = {}
    for name in NAMES:
        path = tmp_path_factory.mktemp("logs") / "log.jsonl"
        logged(PLANS[name], path)
        made[name] = path.read_bytes()
    return made


SMALL = pytest.mark.parametrize("name", NAMES)


def judged(path: Path, data: bytes) -> Judgement | None:
    """What is said of a log; None if it is refused."""
    path.write_bytes(data)
    try:
        return check_log(path)
    except InputError as error:
        told = str(error)
    assert told.startswith(f"{path}:")
    assert "\n" not in told
    return None


def other(value: Any) -> Any:
    """Another value that may stand there, too."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return f"{value}s"
        case None:
            return 0
        case list():
            return value[1:] if value else [0]
        case dict():
            key = max(value)
            return value | {key: other(value[key])}
    raise TypeError(value)


def changes(line: Line) -> Iterator[Line]:
    """The line with each of its values changed, and with each of its keys gone."""
    for key, value in line.items():
        yield line | {key: other(value)}
        yield {name: each for name, each in line.items() if name != key}


def raw(line: Line) -> bytes:
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode()


@SMALL
def test_every_record_dropped_or_doubled_is_noticed(
    tmp_path: Path, logs: dict[str, bytes], name: str
) -> None:
    path = tmp_path / "log.jsonl"
    lines = logs[name].splitlines(keepends=True)
    for place in range(len(lines)):
        dropped = judged(path, b"".join(lines[:place] + lines[place + 1 :]))
        doubled = judged(path, b"".join(lines[: place + 1] + lines[place:]))
        assert doubled is None
        if place < len(lines) - 1:
            assert dropped is None
        else:
            assert dropped is not None
            assert dropped.reasons[0].startswith("the log is cut off after line")
            assert dropped.verdict is not Verdict.HOLDS


@SMALL
def test_every_record_changed_in_any_way_is_noticed(
    tmp_path: Path, logs: dict[str, bytes], name: str
) -> None:
    path = tmp_path / "log.jsonl"
    lines = logs[name].splitlines()
    right = judged(path, logs[name])
    seen = 0
    for place, text in enumerate(lines):
        for line in changes(json.loads(text)):
            changed = [*lines[:place], raw(line), *lines[place + 1 :], b""]
            judgement = judged(path, b"\n".join(changed))
            # Without its checksum the log is as those of older writers, and whole.
            if line.get("event") == "run_ended" and "crc32" not in line:
                assert judgement == right
                continue
            assert judgement is None, line
            seen += 1
    assert seen > 300


@SMALL
def test_a_change_that_is_not_in_the_checksum_is_still_right_or_noticed(
    tmp_path: Path, logs: dict[str, bytes], name: str
) -> None:
    """As in logs of older writers: what they say must agree with itself."""
    path = tmp_path / "log.jsonl"
    lines = [json.loads(line) for line in logs[name].splitlines()]
    del lines[-1]["crc32"]
    right = judged(path, as_bytes(lines))
    assert right is not None
    told = {"refused": 0, "noticed": 0, "right": 0}
    for place in range(1, len(lines)):
        for line in changes(lines[place]):
            judgement = judged(
                path, as_bytes([*lines[:place], line, *lines[place + 1 :]])
            )
            if judgement is None:
                told["refused"] += 1
            elif judgement.verdict is not Verdict.HOLDS:
                told["noticed"] += 1
            else:
                assert right.verdict is Verdict.HOLDS, line
                told["right"] += 1
    assert told["refused"] > 200


@pytest.mark.parametrize("bit", range(8))
def test_any_bit_that_flips_is_noticed(
    tmp_path: Path, logs: dict[str, bytes], bit: int
) -> None:
    path = tmp_path / "log.jsonl"
    data = logs["holds in a small scenario"]
    for place in range(bit, len(data), 97):
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        judgement = judged(path, bytes(changed))
        assert judgement is None or judgement.verdict is not Verdict.HOLDS


# Older logs.


def test_a_log_of_an_older_writer_is_read(tmp_path: Path) -> None:
    lines = lines_of(OLDER)
    assert not {"op", "vm", "crc32"} & {key for line in lines for key in line}
    judgement = check_log(OLDER)
    assert judgement.verdict is Verdict.HOLDS
    assert judgement.calls == 1


# Compressed logs, and standard input.


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


@SMALL
def test_a_gzipped_log_is_judged_as_it_was_before(
    tmp_path: Path, logs: dict[str, bytes], name: str
) -> None:
    path = tmp_path / "log.jsonl.gz"
    plain = judged(path, logs[name])
    assert judged(path, zipped(logs[name])) == plain
    half = len(logs[name]) // 2
    twice = zipped(logs[name][:half]) + zipped(logs[name][half:])
    assert judged(path, twice) == plain


@pytest.mark.parametrize("zip_it", [False, True], ids=["plain", "gzipped"])
def test_a_log_is_read_from_standard_input(
    tmp_path: Path,
    logs: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    *,
    zip_it: bool,
) -> None:
    data = logs["deadlock"]
    right = judged(tmp_path / "log.jsonl", data)
    given = io.TextIOWrapper(io.BytesIO(zipped(data) if zip_it else data))
    monkeypatch.setattr(sys, "stdin", given)
    assert check_log(Path("-")) == right


def test_what_is_wrong_with_standard_input_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}\n")))
    with pytest.raises(InputError, match=r"^standard input:1: a log begins with"):
        check_log(Path("-"))


def test_a_gzipped_log_that_is_cut_off_is_as_any_other(
    tmp_path: Path, logs: dict[str, bytes]
) -> None:
    path = tmp_path / "log.jsonl.gz"
    data = zipped(logs["holds in a small scenario"])
    for cut in range(300, len(data), 97):
        judgement = judged(path, data[:cut])
        assert judgement is not None
        assert judgement.reasons[0].startswith("the log is cut off after line")
    for cut in (2, 10):
        assert judged(path, data[:cut]) is None


def test_a_gzipped_log_that_is_damaged_is_refused_in_a_line(
    tmp_path: Path, logs: dict[str, bytes]
) -> None:
    path = tmp_path / "log.jsonl.gz"
    data = zipped(logs["holds in a small scenario"])
    # Not in its first ten bytes, which hold the time.
    for place in range(10, len(data), 13):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        judgement = judged(path, bytes(damaged))
        assert judgement is None or judgement.verdict is not Verdict.HOLDS
    wrong_sum = bytearray(data)
    wrong_sum[-6] ^= 1
    path.write_bytes(wrong_sum)
    reader = LogReader(path)
    with pytest.raises(InputError, match=r": the gzipped data is damaged, behind line"):
        list(reader.records())


def test_what_was_read_before_the_damage_is_told(
    tmp_path: Path, logs: dict[str, bytes]
) -> None:
    path = tmp_path / "log.jsonl.gz"
    logged(PLANS["holds"], path)
    whole = len(lines_of(path))
    data = bytearray(zipped(path.read_bytes()))
    data[-6] ^= 1
    path.write_bytes(data)
    reader = LogReader(path)
    with pytest.raises(InputError, match=r"behind line \d+: incorrect data check$"):
        list(reader.records())
    assert whole // 2 < reader.lines <= whole
