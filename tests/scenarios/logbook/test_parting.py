"""Where two runs part, and that they do not if they are the same."""

from __future__ import annotations

import gzip
from pathlib import Path

import attrs

from scenarios.logbook.parting import part
from scenarios.planner import plan_for
from tests.scenarios.logbook.runs import lines_of, logged, plans, write_lines


def test_a_run_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    logged(plans()["holds in a small scenario"], path)
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    found = part(path, packed, context=2)
    assert found.equal
    assert found.seq is None
    assert found.headers == {}
    assert found.a.records == found.b.records == len(lines_of(path)) - 2
    assert [told.seq for told in found.common] == [found.a.records - 1, found.a.records]


def test_two_seeds_part_at_the_first_line_that_differs(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    plan = plan_for("dual-set-swap")
    logged(plan, a)
    logged(attrs.evolve(plan, seed=1), b)
    pairs = list(zip(lines_of(a), lines_of(b), strict=False))[1:]
    first = next(one["seq"] for one, other in pairs if one != other)
    found = part(a, b, context=3)
    assert not found.equal
    assert found.seq == first
    assert found.headers == {"seed": (0, 1)}
    assert [told.seq for told in found.common] == [first - 3, first - 2, first - 1]
    for side, path in ((found.a, a), (found.b, b)):
        lines = lines_of(path)
        assert [told.seq for told in side.goes_on] == [*range(first, first + 4)]
        assert [told.actor for told in side.goes_on] == [
            line["actor"] for line in lines[first : first + 4]
        ]
        assert side.records == len(lines) - 2
        assert side.ending == "completed"


def test_what_the_other_did_first_comes_later(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    logged(plans()["holds in a small scenario"], a)
    lines = lines_of(a)
    # Two tasks of one step in another order; numbers are the line's place.
    place = next(
        n
        for n in range(2, len(lines) - 3)
        if lines[n]["event"] == lines[n + 1]["event"] == "memory_allocated"
    )
    one, other = lines[place], lines[place + 1]
    seqs = one["seq"], other["seq"]
    lines[place], lines[place + 1] = other, one
    lines[place]["seq"], lines[place + 1]["seq"] = seqs
    lines[-1].pop("crc32", None)
    write_lines(b, lines)
    found = part(a, b, context=1)
    assert found.seq == place
    assert (found.a.later, found.b.later) == (1, 1)


def test_a_run_that_ends_earlier(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    logged(plans()["holds in a small scenario"], a)
    data = a.read_bytes()
    b.write_bytes(b"".join(data.splitlines(keepends=True)[:20]))
    found = part(a, b, context=2)
    assert found.seq == 20
    assert found.b.goes_on == []
    assert found.b.ending == ""
    assert found.b.records == 19
    assert not found.equal


def test_the_same_records_and_another_ending(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    logged(plans()["holds in a small scenario"], a)
    b.write_bytes(b"".join(a.read_bytes().splitlines(keepends=True)[:-1]))
    found = part(a, b, context=2)
    assert found.seq is None
    assert not found.equal
