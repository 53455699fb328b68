"""Writes a picture of a run, while it goes on or from its log."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from rcu.trace import Record
from scenarios.checkers.judge import CHECKERS, Judge, doubts_about
from scenarios.errors import InputError
from scenarios.logbook.reader import LogReader
from scenarios.logbook.takes import Takes
from scenarios.logbook.writer import Header
from scenarios.printable import printable
from scenarios.report import chrome_json, lanes_as_text, mermaid, page, perfetto, svg
from scenarios.report.picture import Flag, Picture
from scenarios.report.window import Wanted, Window

Format = Literal["html", "perfetto", "chrome-json", "svg", "mermaid", "text"]


@attrs.frozen
class Way:
    """How a picture becomes a file.

    Attributes:
        render: What does it.
        suffix: What its files end in.
        most: Events that it shows if nobody says how many.
        limit: Events that it can show at all.
    """

    render: Callable[[Picture], str | bytes]
    suffix: str
    most: int
    limit: int


FORMATS: dict[Format, Way] = {
    "html": Way(page.render, ".html", 15_000, 1_000_000),
    "perfetto": Way(perfetto.render, ".perfetto-trace", 50_000, 10_000_000),
    "chrome-json": Way(chrome_json.render, ".trace.json", 50_000, 10_000_000),
    "svg": Way(svg.render, ".svg", 400, 5_000),
    "mermaid": Way(mermaid.render, ".mmd", 40, 200),
    "text": Way(lanes_as_text.render, ".txt", 80, 100_000),
}
"""Every format; the first is the usual one."""

SUFFIXES: dict[str, Format] = {
    ".html": "html",
    ".htm": "html",
    ".perfetto-trace": "perfetto",
    ".pftrace": "perfetto",
    ".json": "chrome-json",
    ".svg": "svg",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".txt": "text",
}
"""What a file is by the end of its name."""

BATCH = 1_000
"""Records that are judged at once."""


class Report:
    """Takes the records of one run as they come.

    It can be given to a run in place of a `LogWriter`, or beside one.

    Args:
        wanted: What is to be shown.
    """

    def __init__(self, wanted: Wanted | None = None) -> None:
        self._wanted = Wanted() if wanted is None else wanted
        self._header: dict[str, Any] = {}
        self._begin()

    def begin(self, header: Header | Mapping[str, Any] | None) -> None:
        """Take what the run is a run of: a `Header`, or the first line of a log."""
        if isinstance(header, Header):
            header = attrs.asdict(header, recurse=False)
        self._header = dict(header or {})
        self._begin()

    def write(self, records: Sequence[Record]) -> None:
        """Take the next records.

        Raises:
            InputError: One contradicts those before it.
        """
        try:
            self._judge.read(records)
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise InputError(
                f"an event of lines {self._window.events + 2} to"
                f" {self._window.events + 1 + len(records)} contradicts those before"
                f" it: {error!r}"
            ) from error
        self._window.read(records)

    def end(self, step: int, ending: str) -> None:
        """Take how the run ended."""
        self._steps = step
        self._ending = ending

    def picture(self) -> Picture:
        """What there is to see.

        Raises:
            InputError: Nothing is in the steps that were asked for.
        """
        violated = self._judge.violated
        doubts = ["the log is cut off"]
        if self._ending:
            doubts = doubts_about(self._ending, violated=violated)
        judgement = self._judge.conclude(doubts)
        drawn, chosen = self._window.drawn()
        steps = [entry.step for entry in drawn.entries]
        flags = tuple(
            Flag(
                printable(each.checker),
                each.step,
                printable(each.actor),
                printable(each.seen, 2_000),
                printable(each.why, 2_000),
                each.causes,
            )
            for each in judgement.violations
        )
        first, last = (steps[0], steps[-1]) if steps else (0, 0)
        shown = [flag.step for flag in flags if first <= flag.step <= last]
        return Picture(
            title=printable(str(self._header.get("scenario", "a run"))),
            facts=_facts(self._header),
            verdict=judgement.verdict.value,
            reasons=tuple(printable(each, 500) for each in judgement.reasons),
            ending=printable(self._ending),
            events=self._window.events,
            steps=max(self._window.steps, self._steps),
            first=first,
            last=last,
            chosen=chosen,
            lanes=tuple(drawn.lanes),
            spans=tuple(drawn.spans),
            entries=tuple(drawn.entries),
            arrows=tuple(drawn.arrows),
            swaps=tuple(drawn.swaps),
            sets=drawn.sets,
            changes=tuple(drawn.changes),
            ranks=tuple(drawn.ranks),
            flags=flags,
            focus=min(shown, default=first),
        )

    def _begin(self) -> None:
        self._judge = Judge(_must_exercise(self._header))
        tasks = self._header.get("tasks", ())
        names = [name for name in tasks if isinstance(name, str)]
        self._window = Window(self._wanted, self._first_violation, names)
        self._ending = ""
        self._steps = 0

    def _first_violation(self) -> int | None:
        if not self._judge.violated:
            return None
        return self._judge.conclude().violations[0].step


@attrs.frozen
class Several:
    """Hands the records of a run to several who take them.

    Attributes:
        takers: They get each batch in this order.
    """

    takers: tuple[Takes, ...]

    def begin(self, header: Header) -> None:
        """See `Takes`."""
        for each in self.takers:
            each.begin(header)

    def write(self, records: Sequence[Record]) -> None:
        """See `Takes`."""
        for each in self.takers:
            each.write(records)

    def end(self, step: int, ending: str) -> None:
        """See `Takes`."""
        for each in self.takers:
            each.end(step, ending)


def picture_of(log: LogReader, wanted: Wanted | None = None) -> Picture:
    """What there is to see of a log.

    Raises:
        InputError: It cannot be read, or nothing is in the steps that were asked for.
    """
    report = Report(wanted)
    records = log.records()
    first = list(itertools.islice(records, 1))  # it follows the header
    report.begin(log.header)
    report.write(first)
    while batch := list(itertools.islice(records, BATCH)):
        report.write(batch)
    if log.ending:
        report.end(0, log.ending)
    return report.picture()


def picture_of_records(
    records: Iterable[Record],
    header: Header | Mapping[str, Any] | None = None,
    ending: str = "completed",
    wanted: Wanted | None = None,
) -> Picture:
    """What there is to see of the records of a run.

    Args:
        records: All of them, in order.
        header: What the run is a run of: a `Header`, or the first line of its log.
        ending: How it ended; see `Ending`.
        wanted: What is to be shown.
    """
    report = Report(wanted)
    report.begin(header)
    report.write(tuple(records))
    report.end(0, ending)
    return report.picture()


def format_of(path: Path) -> Format:
    """The format that the end of a file's name stands for.

    Raises:
        InputError: It stands for none.
    """
    if not path.suffix:
        return "html"
    if path.suffix.lower() not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise InputError(
            f"cannot tell the format of {path}; end it in one of {known}, or give"
            " --format"
        )
    return SUFFIXES[path.suffix.lower()]


def write_report(
    picture: Picture,
    path: Path,
    format: Format | None = None,  # noqa: A002
) -> None:
    """Write a picture.

    Args:
        picture: What there is to see.
        path: Where; an existing file is overwritten.
        format: In which format; by default by the end of the name.

    Raises:
        InputError: It cannot be written.
    """
    data = rendered(picture, format or format_of(path))
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"cannot write {path}: {error}") from error


def rendered(picture: Picture, format: Format) -> bytes:  # noqa: A002
    """The bytes of a picture in a format."""
    data = FORMATS[format].render(picture)
    return data.encode(errors="replace") if isinstance(data, str) else data


def _must_exercise(header: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that are known; `memslots check` refuses others."""
    wanted = header.get("must_exercise")
    ids = wanted if isinstance(wanted, list | tuple) else ()
    return tuple(id_ for id_ in ids if isinstance(id_, str) and id_ in CHECKERS)


def _facts(header: Mapping[str, Any]) -> dict[str, str]:
    """What the first line of a log says of the run, but for what has its own place."""
    keys = ("strategy", "seed", "mode", "vcpus", "memslots", "tool_version")
    return {
        key.replace("_", " "): printable(str(header[key]))
        for key in keys
        if key in header
    }
