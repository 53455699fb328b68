"""What a reader remembers is little, and makes no difference to what it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

import scenarios.logbook.reader
import scenarios.logbook.schema
from rcu.trace import Record
from scenarios.logbook.reader import LogReader
from scenarios.logbook.schema import field_names
from tests.scenarios.logbook.runs import logged, plans

PLANS = plans()


def told(path: Path) -> list[tuple[int, str, str, list[object]]]:
    return [_told(record) for record in LogReader(path).records()]


def _told(record: Record) -> tuple[int, str, str, list[object]]:
    step, actor, event = record
    fields = [getattr(event, name) for name in field_names(type(event))]
    return step, actor, event.name, fields


@pytest.mark.parametrize("name", ["holds", "a task fails"])
def test_events_are_the_same_whatever_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "log.jsonl"
    logged(PLANS[name], path)
    usual = told(path)
    monkeypatch.setattr(scenarios.logbook.reader, "KEPT_EVENTS", 2)
    monkeypatch.setattr(scenarios.logbook.schema, "KEPT_SLOTS", 1)
    assert told(path) == usual
    monkeypatch.setattr(scenarios.logbook.reader, "LONGEST_KEPT", 0)
    assert told(path) == usual


def test_a_log_in_another_dress_says_the_same(tmp_path: Path) -> None:
    """As other programs write JSON, without the checksum of the bytes."""
    path, other = tmp_path / "log.jsonl", tmp_path / "other.jsonl"
    logged(PLANS["holds in a small scenario"], path)
    *lines, last = path.read_text().splitlines()
    last = last.partition(',"crc32"')[0] + "}"
    text = "\n".join([*lines, last, ""])
    other.write_text(text.replace('":', '" : ').replace(',"', ' , "'))
    assert told(other) == told(path)


def test_records_are_numbered_as_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    logged(PLANS["holds"], path)
    reader = LogReader(path)
    for seq, _ in enumerate(reader.records(), 1):
        assert reader.lines == seq + 1
    assert reader.lines == seq + 2
