"""Answers, counts and comparisons of logs as text, CSV and JSON."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.text import Text

from scenarios.cli import output, terminal
from scenarios.cli.terminal import one_line
from scenarios.logbook.parting import Parting, Side, Told
from scenarios.logbook.query import Answer
from scenarios.logbook.statistics import POSSIBLE_AGE, Lengths, Statistics
from scenarios.printable import printable

LONGEST_CELL = 240
"""Characters of a cell that a table shows."""

MEASURED = 1_000
"""So many rows decide how wide the columns of a table are."""

AT_ONCE = 1_000
BAR = 40
"""Columns of the longest bar."""

SIDE = 60
"""Columns of each side of a comparison where there is no terminal."""

HORIZONTAL = "\N{BOX DRAWINGS LIGHT HORIZONTAL}"


# Answers.


def print_table(answer: Answer) -> None:
    """Print an answer as a table."""
    rows = ([_cell(value) for value in row] for row in answer.rows())
    first = list(itertools.islice(rows, MEASURED))
    if not first:
        terminal.say("nothing in the log is like that")
        return
    names = [printable(name, LONGEST_CELL) for name in answer.columns]
    widths = [
        max(map(len, (name, *(row[place] for row in first))))
        for place, name in enumerate(names)
    ]
    console = terminal.stdout()
    rights = answer.numeric
    console.print(Text(_row(names, widths, rights), style="bold"))
    console.print(Text("  ".join(HORIZONTAL * width for width in widths), style="dim"))
    while first:
        terminal.write("".join(f"{_row(row, widths, rights)}\n" for row in first))
        first = list(itertools.islice(rows, MEASURED))


def print_csv(answer: Answer) -> None:
    """Print an answer as CSV; what has no value is left empty."""
    _write_csv([answer.columns])
    rows = answer.rows()
    while some := list(itertools.islice(rows, AT_ONCE)):
        _write_csv(some)


def print_json(answer: Answer) -> None:
    """Print an answer as one JSON array, an object a row."""
    before = "[\n"
    rows = answer.rows()
    while some := list(itertools.islice(rows, AT_ONCE)):
        objects = (
            json.dumps(dict(zip(answer.columns, map(_plain, row), strict=True)))
            for row in some
        )
        terminal.write(before + ",\n".join(f"  {each}" for each in objects))
        before = ",\n"
    terminal.write("[]\n" if before == "[\n" else "\n]\n")


WAYS: dict[str, Callable[[Answer], None]] = {
    "table": print_table,
    "csv": print_csv,
    "json": print_json,
}


def _row(cells: Sequence[str], widths: Sequence[int], rights: Sequence[bool]) -> str:
    aligned = (
        f"{cell:>{width}}" if right else f"{cell:<{width}}"
        for cell, width, right in zip(cells, widths, rights, strict=True)
    )
    return "  ".join(aligned).rstrip()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list, tuple)):
        value = json.dumps(_plain(value))
    return printable(str(value), LONGEST_CELL)


def _write_csv(rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([_csv_cell(value) for value in row])
    terminal.write(text.getvalue())


def _csv_cell(value: object) -> object:
    if value is None or isinstance(value, (int, float)):
        return _cell(value) if isinstance(value, bool) else value
    text = value if isinstance(value, str) else json.dumps(_plain(value))
    return printable(text, len(text))


def _plain(value: Any) -> Any:
    """A value of DuckDB as JSON has it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value)


# Statistics.


def print_statistics(console: Console, log: str, counted: Statistics) -> None:
    """Print what is in a log."""
    output.print_title(console, log, "")
    _print_lengths(console, "read sections", counted.sections)
    _print_lengths(console, "grace periods", counted.grace_periods)
    console.print(
        f"  {counted.grace_periods_with_readers:,} of {counted.grace_periods.count:,}"
        " began while somebody was reading"
    )
    console.print()
    _print_waits(console, counted)
    _print_ages(console, counted)
    _print_locks(console, counted)


def _print_lengths(console: Console, what: str, lengths: Lengths) -> None:
    head = f"{what}: {lengths.count:,}"
    if lengths.unended:
        head += f", and {lengths.unended:,} that did not end"
    _print_head(console, head)
    if not lengths.count:
        console.print()
        return
    console.print(
        f"  steps: {lengths.least:,} at least, {lengths.median:,} median,"
        f" {lengths.p99:,} for 99 in 100, {lengths.most:,} at most"
    )
    rows = [
        (f"{b.least:,}" if b.least == b.most else f"{b.least:,} to {b.most:,}", b.count)
        for b in lengths.bins
    ]
    _print_bars(console, "steps", rows)
    console.print()


def _print_bars(
    console: Console,
    label: str,
    rows: Sequence[tuple[str, int]],
    marks: Sequence[str] = (),
) -> None:
    left = max(len(label), *(len(name) for name, _ in rows))
    right = max(len("count"), *(len(f"{count:,}") for _, count in rows))
    room = BAR
    if console.is_terminal:
        room = max(8, min(BAR, console.width - left - right - 8))
    most = max(count for _, count in rows)
    console.print(Text(f"  {label:>{left}}  {'count':>{right}}", style="dim"))
    for place, (name, count) in enumerate(rows):
        mark = marks[place] if marks else ""
        line = f"  {name:>{left}}  {count:>{right},}  {_bar(count, most, room)}{mark}"
        console.print(Text(line.rstrip(), style="red" if mark else ""))


def _bar(count: int, most: int, room: int) -> str:
    """A bar in eighths of a column; what is there is seen."""
    if not count:
        return ""
    eighths = max(1, round(count * room * 8 / most))
    full, part = divmod(eighths, 8)
    # From FULL BLOCK down to LEFT ONE EIGHTH BLOCK.
    return "\u2588" * full + (chr(0x2590 - part) if part else "")


def _print_waits(console: Console, counted: Statistics) -> None:
    _print_head(console, "who waited for whom, in synchronize_srcu")
    rows = [
        (
            one_line(wait.waiter),
            one_line(wait.reader),
            f"{wait.count:,}",
            "" if wait.longest is None else f"{wait.longest:,}",
            f"{wait.not_waited_for:,} not waited for !!!"
            if wait.not_waited_for
            else "",
        )
        for wait in counted.waits
    ]
    names = ("writer", "reader", "sections", "longest", "")
    _print_rows(console, names, rows, (False, False, True, True, False))


def _print_ages(console: Console, counted: Statistics) -> None:
    _print_head(console, "age of the sets that readers had, at the end of the section")
    if counted.ages:
        ages = {0: 0, POSSIBLE_AGE: 0} | counted.ages
        rows = [(str(age), ages[age]) for age in sorted(ages)]
        marks = [
            "" if 0 <= int(age) <= POSSIBLE_AGE or not count else "  !!!"
            for age, count in rows
        ]
        _print_bars(console, "age", rows, marks)
        console.print("  0: active; 1: replaced meanwhile; 2 or more: impossible")
    console.print(
        f"  {counted.swaps_under_readers:,} of {counted.swaps:,} swaps while somebody"
        " read the set before"
    )
    console.print()


def _print_locks(console: Console, counted: Statistics) -> None:
    _print_head(console, "locks")
    rows = [
        (
            one_line(use.lock),
            f"{use.acquired:,}",
            "" if use.longest_held is None else f"{use.longest_held:,}",
            f"{use.waited:,}",
            "" if use.waited_at_most is None else f"{use.waited_at_most:,}",
        )
        for use in counted.locks
    ]
    names = ("lock", "acquired", "held at most", "waited", "steps at most")
    _print_rows(console, names, rows, (False, True, True, True, True))
    if counted.lock_waits:
        _print_head(console, "who may have waited for whom, at a lock")
        rows = [
            (
                one_line(wait.lock),
                one_line(wait.waiter),
                one_line(wait.holder),
                f"{wait.count:,}",
                f"{wait.at_most:,}",
            )
            for wait in counted.lock_waits
        ]
        names = ("lock", "waiter", "holder", "times", "steps at most")
        _print_rows(console, names, rows, (False, False, False, True, True))
    for stuck in counted.stuck:
        text = f"{stuck.task} waits for good: {stuck.waits_for}"
        if stuck.held_by:
            text += f", {stuck.held_by} has it"
        console.print(Text(one_line(text), style="red"))


def _print_head(console: Console, text: str) -> None:
    console.print(Text(text, style="bold"))


def _print_rows(
    console: Console,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    rights: Sequence[bool],
) -> None:
    if not rows:
        console.print("  none")
    else:
        widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
        console.print(Text(f"  {_row(names, widths, rights)}", style="dim"))
        for row in rows:
            console.print(Text(f"  {_row(row, widths, rights)}"))
    console.print()


# Comparisons.


def print_parting(console: Console, parting: Parting) -> None:
    """Print where two runs part, side by side."""
    for key, pair in parting.headers.items():
        values = " and ".join(json.dumps(_plain(each)) for each in pair)
        console.print(f"  {one_line(key)}: {one_line(values)}")
    if parting.headers:
        console.print()
    if parting.seq is None:
        _print_same(console, parting)
        return
    _print_sides(console, parting)
    first = [side.goes_on[0] if side.goes_on else None for side in _sides(parting)]
    where = f"they part at seq {parting.seq:,}"
    steps = {each.step for each in first if each is not None}
    if len(steps) == 1:
        where += f", step {steps.pop():,}"
    console.print(Text(where, style="bold"))
    for name, side, other in (
        ("A", parting.a, "B"),
        ("B", parting.b, "A"),
    ):
        console.print(f"  {name} {_goes_on(side, other, parting.seq)}")


def _sides(parting: Parting) -> tuple[Side, Side]:
    return parting.a, parting.b


def _print_same(console: Console, parting: Parting) -> None:
    if parting.equal:
        console.print(f"the same: {parting.a.records:,} records, {_end(parting.a)}")
        return
    console.print(
        f"the same {parting.a.records:,} records, but A {_end(parting.a)} and B"
        f" {_end(parting.b)}"
    )


def _print_sides(console: Console, parting: Parting) -> None:
    room = (console.width - 3) // 2 if console.is_terminal else SIDE
    names = (f"A  {one_line(parting.a.log)}", f"B  {one_line(parting.b.log)}")
    console.print(Text(_side_by_side(*names, room), style="bold"))
    for told in parting.common:
        line = _line(told)
        console.print(Text(_side_by_side(line, line, room), style="dim"))
    console.print(Text(HORIZONTAL * (2 * room + 3), style="red"))
    for a, b in itertools.zip_longest(parting.a.goes_on, parting.b.goes_on):
        console.print(Text(_side_by_side(_line(a), _line(b), room)))
    console.print()


def _side_by_side(a: str, b: str, room: int) -> str:
    left, right = printable(a, room), printable(b, room)
    return f"{left:<{room}} \N{BOX DRAWINGS LIGHT VERTICAL} {right}".rstrip()


def _line(told: Told | None) -> str:
    if told is None:
        return ""
    fields = " ".join(f"{key}={_short(value)}" for key, value in told.fields.items())
    return f"{told.seq} s{told.step} {told.actor}  {told.event} {fields}"


def _short(value: object) -> str:
    if isinstance(value, dict):
        return f"#{value.get('serial')}"
    return value if isinstance(value, str) else json.dumps(_plain(value))


def _goes_on(side: Side, other: str, seq: int) -> str:
    own = side.records - seq + 1
    if own <= 0:
        return f"has no more records; it {_end(side)}"
    text = f"goes on for {own:,} records to step {side.steps:,}, and {_end(side)}"
    if side.later is not None:
        text += f"; what {other} does first it does {side.later:,} records later"
    return text


def _end(side: Side) -> str:
    return f"ended: {one_line(side.ending)}" if side.ending else "is cut off"
