"""A log answers SQL: its views say what its records say, and nothing else is read."""

from __future__ import annotations

import gzip
import json
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from memslots.tracepoints import RegionRequested, RegionReturned, SetsSwapped
from rcu.trace import Record
from rcu.tracepoints import (
    GracePeriodEnded,
    GracePeriodStarted,
    LockAcquired,
    LockReleased,
    SectionBegan,
    SectionEnded,
    SynchronizeBegan,
    SynchronizeEnded,
)
from scenarios.checkers.history import History
from scenarios.errors import InputError
from scenarios.logbook import query
from scenarios.logbook.query import Database, ask
from scenarios.logbook.reader import LogReader
from scenarios.logbook.views import VIEWS, field_types
from scenarios.planner import plan_for
from tests.scenarios.logbook.runs import lines_of, logged, plans, write_lines
from vcpus.tracepoints import SetDereferenced, SlotLookedUp

Row = tuple[Any, ...]


def records_of(log: Path) -> list[tuple[int, Record]]:
    return list(enumerate(LogReader(log).records(), 1))


def asked(log: Path, sql: str) -> list[Row]:
    return list(ask(log, sql).rows())


@pytest.fixture(scope="module", params=["tree", "array", "violation"])
def log(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Path:
    """Logs of both ways to keep slots, and of a protocol that waits for nobody."""
    path: Path = tmp_path_factory.mktemp("query") / "log.jsonl"
    plan = plan_for("dual-set-swap")
    if request.param == "array":
        plan = attrs.evolve(plan, memslots="array")
    if request.param == "violation":
        plan = attrs.evolve(plans()["violation"], seed=1)
    logged(plan, path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("query") / "small.jsonl"
    logged(plans()["holds in a small scenario"], path)
    return path


# Events.


def test_events_are_the_records(log: Path) -> None:
    expected = [
        (seq, step, actor, event.name) for seq, (step, actor, event) in records_of(log)
    ]
    assert asked(log, "SELECT seq, step, actor, event FROM events") == expected


def test_star_shows_the_fields_of_an_event_together(small: Path) -> None:
    answer = ask(small, "SELECT * FROM events")
    assert answer.columns == ("seq", "step", "actor", "op", "event", "fields")
    head = ("seq", "step", "actor", "op", "event")
    for row, line in zip(answer.rows(), lines_of(small)[1:-1], strict=True):
        assert row[:-1] == tuple(line[key] for key in head)
        assert json.loads(row[-1]) == {
            key: value for key, value in line.items() if key not in head
        }


def test_every_field_is_a_column_of_events(small: Path) -> None:
    names = ", ".join(f'"{name}"' for name in field_types())
    answer = ask(small, f"SELECT {names} FROM events")  # noqa: S608
    lines = lines_of(small)[1:-1]
    assert answer.columns == tuple(field_types())
    for row, line in zip(answer.rows(), lines, strict=True):
        told = dict(zip(answer.columns, row, strict=True))
        for name, value in told.items():
            found = (
                json.loads(value) if field_types()[name] == "JSON" and value else value
            )
            assert found == line.get(name)


def test_a_generation_in_progress_is_exact(log: Path) -> None:
    numbers = [row[0] for row in asked(log, "SELECT generation FROM swaps")]
    assert numbers == [
        record.event.generation
        for _, record in records_of(log)
        if isinstance(record.event, SetsSwapped)
    ]
    assert all(number >= 1 << 63 for number in numbers)


# The views say what a plain walk over the records says.


def test_sections(log: Path) -> None:
    open_: dict[tuple[str, str, int], list[tuple[int, int]]] = {}
    expected: list[tuple[Any, ...]] = []
    for seq, (step, actor, event) in records_of(log):
        if isinstance(event, SectionBegan):
            key = actor, event.domain, event.srcu_idx
            open_.setdefault(key, []).append((seq, step))
        elif isinstance(event, SectionEnded):
            key = actor, event.domain, event.srcu_idx
            began, at = open_[key].pop()
            expected.append((*key, began, at, seq, step, step - at))
    for key, left in open_.items():
        expected += [(*key, began, at, None, None, None) for began, at in left]
    found = asked(log, "SELECT * EXCLUDE (depth) FROM sections")
    assert found == sorted(expected, key=lambda row: row[3])


def test_grace_periods_and_the_readers_that_they_met(log: Path) -> None:
    history = History()
    expected: list[list[Any]] = []
    for seq, record in records_of(log):
        event = record.event
        if isinstance(event, GracePeriodStarted):
            readers = {section.actor for section in history.open_sections()}
            row = [event.gp_seq, seq, record.step, None, None, len(readers)]
            expected.append(row)
        elif isinstance(event, GracePeriodEnded):
            expected[-1][3:5] = seq, record.step - expected[-1][2]
        if (handler := history.handlers.get(type(event))) is not None:
            handler(record, event)
    sql = (
        "SELECT gp_seq, started_seq, started_step, ended_seq, steps, readers"
        " FROM grace_periods"
    )
    assert asked(log, sql) == [tuple(row) for row in expected]


def test_who_waits_for_whom(log: Path) -> None:
    history = History()
    began: dict[str, int] = {}
    readers: dict[str, list[str]] = {}
    expected = []
    for seq, record in records_of(log):
        event, actor = record.event, record.actor
        if isinstance(event, SynchronizeBegan):
            began[actor] = seq
            readers[actor] = sorted({each.actor for each in history.open_sections()})
        elif isinstance(event, SynchronizeEnded):
            expected += [(began[actor], actor, each) for each in readers[actor]]
        if (handler := history.handlers.get(type(event))) is not None:
            handler(record, event)
    sql = "SELECT began_seq, waiter, reader FROM waits WHERE ended_seq IS NOT NULL"
    assert asked(log, f"{sql} ORDER BY ALL") == sorted(expected)


def test_updates(log: Path) -> None:
    requested: dict[int, tuple[int, Record]] = {}
    swaps: Counter[str] = Counter()
    before: dict[int, int] = {}
    expected: dict[int, tuple[Any, ...]] = {}
    for seq, record in records_of(log):
        match record.event:
            case RegionRequested(call=call):
                requested[call] = seq, record
                before[call] = swaps[record.actor]
                expected[call] = (None, None, None, None)
            case SetsSwapped():
                swaps[record.actor] += 1
            case RegionReturned(call=call, change=change, result=result):
                at = requested[call][1].step
                done = swaps[record.actor] - before[call]
                expected[call] = (change, result, record.step - at, done)
    found = asked(log, "SELECT * FROM updates")
    assert {row[0]: (row[4], row[5], row[14], row[15]) for row in found} == expected
    for row in found:
        event = requested[row[0]][1].event
        assert isinstance(event, RegionRequested)
        assert row[2:4] == (event.slot >> 16, event.slot & 0xFFFF)
        assert row[6:10] == (
            event.flags,
            event.guest_phys_addr,
            event.memory_size,
            event.userspace_addr,
        )


def test_lookups(log: Path) -> None:
    expected = []
    for seq, (step, _, event) in records_of(log):
        if isinstance(event, SlotLookedUp):
            slot = event.slot
            ids = (None, None) if slot is None else (slot.serial, slot.base_gfn)
            invalid = None if slot is None else bool(slot.flags & 1 << 16)
            expected.append((seq, step, event.set, event.gfn, *ids, invalid))
    sql = 'SELECT seq, step, "set", gfn, serial, base_gfn, invalid FROM lookups'
    assert asked(log, sql) == expected


def test_locks(log: Path) -> None:
    held: dict[tuple[str, str], tuple[int, int]] = {}
    given_back: dict[tuple[str, bool], tuple[int, int, str]] = {}
    shared: dict[tuple[str, str], bool] = {}
    last: dict[str, int] = {}
    waited: dict[int, Row] = {}
    expected = []
    for seq, (step, actor, event) in records_of(log):
        if isinstance(event, LockAcquired):
            held[actor, event.lock] = seq, step
            shared[actor, event.lock] = event.shared
            after = [given_back.get((event.lock, False), (-1, -1, ""))]
            if not event.shared:
                after.append(given_back.get((event.lock, True), (-1, -1, "")))
            _, at, holder = max(after)
            if actor in last and at > last[actor] and holder != actor:
                waited[seq] = holder, step - last[actor]
        elif isinstance(event, LockReleased):
            began, at = held.pop((actor, event.lock))
            expected.append(
                (
                    event.lock,
                    actor,
                    began,
                    seq,
                    step - at,
                    *waited.get(began, (None, None)),
                )
            )
            given_back[event.lock, shared[actor, event.lock]] = seq, step, actor
        last[actor] = step
    sql = (
        "SELECT lock, actor, acquired_seq, released_seq, steps, waited_for,"
        " waited_at_most FROM locks WHERE released_seq IS NOT NULL"
    )
    assert asked(log, sql) == sorted(expected, key=lambda row: row[2])


def test_ages_of_the_sets_that_readers_hold(log: Path) -> None:
    published: dict[tuple[int, int], int] = {}
    swaps: Counter[int] = Counter()
    open_: dict[str, int] = {}
    holding: dict[str, list[tuple[int, int, int]]] = {}
    ages: dict[int, int] = {}
    for seq, (_, actor, event) in records_of(log):
        match event:
            case SetsSwapped(as_id=as_id, set=index):
                swaps[as_id] += 1
                published[as_id, index] = swaps[as_id]
            case SectionBegan():
                open_[actor] = open_.get(actor, 0) + 1
            case SetDereferenced(as_id=as_id, set=index) if open_.get(actor):
                number = published.get((as_id, index), -1 if index else 0)
                holding.setdefault(actor, []).append((seq, as_id, number))
            case SectionEnded():
                open_[actor] -= 1
                if not open_[actor]:
                    for read, as_id, number in holding.pop(actor, []):
                        ages[read] = swaps[as_id] - number
    for reads in holding.values():
        for read, as_id, number in reads:
            ages[read] = swaps[as_id] - number
    assert dict(asked(log, "SELECT seq, age FROM set_reads")) == ages


def test_slots_at_any_record(log: Path) -> None:
    records = records_of(log)
    wanted = {1, len(records) // 3, 2 * len(records) // 3, len(records)}
    history = History()
    for seq, record in records:
        event = record.event
        if (handler := history.handlers.get(type(event))) is not None:
            handler(record, event)
        if seq not in wanted:
            continue
        expected = [
            (
                as_id,
                index,
                index == space.active,
                slot.serial,
                slot.base_gfn,
                slot.flags,
            )
            for as_id, space in history.spaces.items()
            for index, content in space.sets.items()
            for slot in content.by_serial.values()
        ]
        sql = (
            f'SELECT as_id, "set", active, serial, base_gfn, flags FROM slots_at({seq})'  # noqa: S608
        )
        assert sorted(asked(log, sql)) == sorted(expected), seq


@pytest.mark.parametrize("name", VIEWS)
def test_columns_are_those_that_are_told(small: Path, name: str) -> None:
    view = VIEWS[name]
    source = f"{name}(10)" if view.parameter else name
    assert ask(small, f"SELECT * FROM {source}").columns == view.columns  # noqa: S608


def test_all_views_in_one_question(small: Path) -> None:
    parts = [
        f"(SELECT count(*) FROM {f'{name}(9)' if view.parameter else name})"  # noqa: S608
        for name, view in VIEWS.items()
    ]
    ((*counts,),) = asked(small, f"SELECT {', '.join(parts)}, count(*) FROM events")  # noqa: S608
    assert counts[-1] == len(records_of(small))


# Whatever the log is kept in.


def test_gzipped_and_from_standard_input(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "SELECT * FROM events"
    packed = tmp_path / "log.jsonl.gz"
    packed.write_bytes(gzip.compress(small.read_bytes()))
    assert asked(packed, sql) == asked(small, sql)
    for path in (small, packed):
        with path.open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            assert asked(Path("-"), sql) == asked(small, sql)


def test_a_name_that_could_stand_for_something_else(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "SELECT count(*), max(as_id) FROM events"
    monkeypatch.chdir(tmp_path)
    Path("~").mkdir()
    Path("as_id=7").mkdir()
    names = ("a[1].jsonl", "*.jsonl", "what?", "it's", "~/log", "as_id=7/log")
    for path in map(Path, names):
        path.write_bytes(small.read_bytes())
        assert asked(path, sql) == asked(small, sql)
        path.unlink()


def test_a_half_line_at_the_end_is_left_out(small: Path, tmp_path: Path) -> None:
    data = small.read_bytes()
    cut = data.index(b"\n", len(data) // 2) + 1
    for more in (b"", b'{"seq":', b'{"seq":99999,"step":1,"actor":"x","event":"y"}'):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(data[:cut] + more)
        assert len(asked(path, "FROM events")) == data[:cut].count(b"\n") - 1
        path.write_bytes(gzip.compress(data[:cut] + more))
        assert len(asked(path, "FROM events")) == data[:cut].count(b"\n") - 1


def test_older_logs_have_no_op(small: Path, tmp_path: Path) -> None:
    lines = [{k: v for k, v in line.items() if k != "op"} for line in lines_of(small)]
    write_lines(tmp_path / "old.jsonl", lines)
    assert asked(tmp_path / "old.jsonl", "SELECT DISTINCT op FROM events") == [(None,)]


# What is not a log.


def damaged(data: bytes) -> dict[str, bytes]:
    lines = data.splitlines(keepends=True)
    return {
        "someone else's": b'{"name": "x"}\n' * 3,
        "an array": b"[1, 2]\n",
        "no JSON": b"hello\n",
        "empty": b"",
        "a later version": data.replace(b'"schema":1', b'"schema":99', 1),
        "line dropped": b"".join(lines[:5] + lines[6:]),
        "line doubled": b"".join(lines[:5] + lines[4:]),
        "a gap": data.replace(b'"seq":7,', b'"seq":1000000007,', 1),
        "a line of another file": b"".join([*lines[:5], b"x y\n", *lines[6:]]),
        "an array inside": b"".join([*lines[:5], b"[5]\n", *lines[6:]]),
        "nulls": b"".join([*lines[:5], b"\0\0\0\n", *lines[6:]]),
        "no actor": b"".join(
            [*lines[:5], b'{"seq":5,"step":0,"event":"x"}\n', *lines[6:]]
        ),
        "gzip damaged": gzip.compress(data)[:200] + b"\0" * 50,
    }


@pytest.mark.parametrize("kind", damaged(b""))
def test_what_is_no_log_is_refused(small: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "damaged.jsonl"
    path.write_bytes(damaged(small.read_bytes())[kind])
    for sql in ("SELECT count(*) FROM events", "SELECT * FROM events"):
        with pytest.raises(InputError) as refused:
            asked(path, sql)
        assert str(refused.value).startswith(str(path))
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "none.jsonl"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"No such file|Is a directory"):
        asked(tmp_path / name, "FROM events")


# A question reads the log, and nothing else.

ELSEWHERE = {
    "read_csv": "SELECT * FROM read_csv('secret.csv')",
    "a file's name": "SELECT * FROM 'secret.csv'",
    "read_text": "SELECT * FROM read_text('secret.csv')",
    "read_blob": "SELECT * FROM read_blob('secret.csv')",
    "read_json": "SELECT * FROM read_json('secret.csv')",
    "read_parquet": "SELECT * FROM read_parquet('secret.csv')",
    "read_duckdb": "SELECT * FROM read_duckdb('secret.csv')",
    "sniff_csv": "SELECT * FROM sniff_csv('secret.csv')",
    "glob": "SELECT * FROM glob('*')",
    "the network": "SELECT * FROM read_csv('https://localhost/secret.csv')",
    "an extension": "SELECT * FROM sqlite_scan('secret.csv', 'a')",
    "a variable": "SELECT * FROM ELSEWHERE",
    "the environment": "SELECT getenv('HOME')",
    "logging": "SELECT * FROM enable_logging(storage = 'file',"
    " storage_config = {'path': 'written'})",
    "profiling": "SELECT * FROM enable_profiling(save_location = 'written')",
    "memory": "SELECT * FROM arrow_scan(1, 2, 3)",
    "memory, quoted": 'SELECT * FROM "pandas_scan" (1)',
    "a question in a question": "SELECT * FROM query('SELECT ' || 1)",
}
WRITES = {
    "copy": "COPY events TO 'written'",
    "copy of a question": "COPY (SELECT 1) TO 'written'",
    "attach": "ATTACH 'written' AS other",
    "export": "EXPORT DATABASE 'written'",
    "import": "IMPORT DATABASE 'written'",
    "install": "INSTALL httpfs",
    "load": "LOAD httpfs",
    "create": "CREATE TABLE t AS SELECT 1",
    "drop": "DROP VIEW events",
    "insert": "INSERT INTO log SELECT * FROM log",
    "set": "SET enable_external_access = true",
    "reset": "RESET lock_configuration",
    "pragma": "PRAGMA enable_profiling",
    "call": "CALL enable_logging()",
    "explain": "EXPLAIN ANALYZE SELECT 1",
    "two": "SELECT 1; COPY (SELECT 1) TO 'written'",
    "two questions": "SELECT 1; SELECT 2",
    "nothing": " ; ",
    "a comment": "-- nothing",
}


@pytest.mark.parametrize("sql", [*ELSEWHERE.values(), *WRITES.values()])
def test_a_question_reads_the_log_and_nothing_else(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret.csv").write_text("a,b\n1,2\n")
    before = small.read_bytes()
    with pytest.raises(InputError) as refused:
        asked(small, sql)
    text = str(refused.value)
    assert "\n" not in text
    told = ("a log can only be asked, not ", "the SQL asks for more than the log: ")
    assert text.startswith(told) or "exist" in text
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    assert small.read_bytes() == before


def test_the_log_itself_cannot_be_read_or_written_as_a_file(small: Path) -> None:
    before = small.read_bytes()
    for sql in (f"FROM read_text('{small}')", f"COPY (SELECT 1) TO '{small}'"):
        with pytest.raises(InputError):
            asked(small, sql)
    assert small.read_bytes() == before


def test_what_is_in_a_log_is_no_sql(small: Path, tmp_path: Path) -> None:
    evil = "x'; DROP TABLE log; COPY (SELECT 1) TO 'written'; --\"\x1b[31m\n<script>"
    lines = lines_of(small)
    for line in lines[1:-1]:
        line["actor"] = evil
    write_lines(tmp_path / "evil.jsonl", lines)
    found = asked(tmp_path / "evil.jsonl", "SELECT DISTINCT actor FROM events")
    assert found == [(evil,)]


# What a wrong question is told.


def refusal(log: Path, sql: str) -> str:
    with pytest.raises(InputError) as refused:
        asked(log, sql)
    text = str(refused.value)
    assert "\n" not in text
    return text


def test_a_view_that_is_not_there(small: Path) -> None:
    text = refusal(small, "SELECT * FROM happenings")
    views = ["events", *(name for name in VIEWS if name != "slots_at")]
    assert text.endswith(f"there are {', '.join(views)} and slots_at(seq)")


def test_a_column_that_is_not_there(small: Path) -> None:
    text = refusal(small, "SELECT girth FROM sections")
    assert text.endswith(f"sections has {', '.join(VIEWS['sections'].columns)}")
    text = refusal(small, "SELECT girth FROM events")
    every = "events has seq, step, actor, op, event, fields and every field"
    assert text.endswith(every)


def test_sql_that_is_none(small: Path) -> None:
    assert "syntax error" in refusal(small, "SELEC 1")
    assert "unterminated" in refusal(small, "SELECT 'x")


def test_what_fails_while_it_is_worked_out(small: Path) -> None:
    text = refusal(small, "SELECT error('no ' || actor) FROM events")
    assert "no setup" in text


def test_answers_have_the_order_of_the_log(log: Path) -> None:
    sql = "SELECT actor, count(*), list(seq) FROM events GROUP BY actor"
    assert asked(log, sql) == asked(log, sql)
    assert asked(log, "SELECT seq FROM events") == [
        (seq,) for seq, _ in records_of(log)
    ]


class Slow:
    """A connection that works until it is interrupted, as the user does at once."""

    def __init__(self) -> None:
        self.interrupted = threading.Event()
        self.interrupt = self.interrupted.set

    def execute(self, sql: str, parameters: list[object]) -> None:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        self.interrupted.wait()


def test_ctrl_c_ends_a_question() -> None:
    slow = Slow()
    with pytest.raises(KeyboardInterrupt):
        Database(cast("Any", slow)).ask("SELECT 1")
    assert slow.interrupted.is_set()


def test_ctrl_c_ends_the_making_of_views() -> None:
    slow = Slow()
    with pytest.raises(KeyboardInterrupt):
        query._make_views(cast("Any", slow), "TABLE", set(), ["sections"], whole=False)
    assert slow.interrupted.is_set()
