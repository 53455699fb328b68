"""`memslots timeline`."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from scenarios.cli import terminal
from scenarios.cli.output import Progress
from scenarios.errors import InputError
from scenarios.logbook.reader import LogReader
from scenarios.report.picture import Picture
from scenarios.report.window import Wanted
from scenarios.report.writer import (
    FORMATS,
    Format,
    format_of,
    picture_of,
    rendered,
    write_report,
)

COLLECT_AFTER = 100_000
"""New objects after which Python looks for cycles, of which a picture has none."""

STDOUT = Path("-")
PRINTED = ("text", "mermaid")
"""Formats that go to standard output if no file is named."""


def timeline(
    log: Annotated[Path, Parameter(name="LOG")],
    /,
    *,
    output: Annotated[
        Path | None, Parameter(alias="-o", allow_leading_hyphen=True)
    ] = None,
    format: Format | None = None,  # noqa: A002 - the option's name
    from_: Annotated[
        int | None, Parameter(name="--from", validator=Number(gte=0))
    ] = None,
    to: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    max_events: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> int:
    """Draw a log: one HTML file to step through, or another format.

    Args:
        log: A log that `memslots run --log` wrote; `-` is standard input.
        output: Write to this file; `-` is standard output. By default the log's name
            with the format's suffix; text and Mermaid are printed.
        format: By default what the end of the output's name stands for, else `html`.
        from_: Show what happens from this step on; by default the first violation and
            what is around it, or the beginning if there is none.
        to: Show what happens up to this step.
        max_events: Show so many events at most; by default 15000 in HTML.
        force: Overwrite the output if it exists.
        quiet: Do not say what was written.
    """
    if output is not None and output != STDOUT and str(output).startswith("-"):
        raise InputError(f"--output needs a file, got {output}; ./{output} names one")
    form = format or ("html" if output in {None, STDOUT} else format_of(output))
    way = FORMATS[form]
    most = max_events or way.most
    if most > way.limit:
        raise InputError(
            f"--max-events: {form} shows {way.limit:,} events at most, not {most:,}"
        )
    wanted = Wanted(from_, to, most)
    path = output
    if path is None and form not in PRINTED:
        stem = Path("timeline") if log == STDOUT else _stem(log)
        path = stem.with_name(stem.name + way.suffix)
    if path is not None and path != STDOUT:
        refuse(log, path, force=force)
    gc.set_threshold(COLLECT_AFTER)
    with Progress(str(log), wanted=not quiet, unit="events") as tell:
        picture = picture_of(LogReader(log, tell), wanted)
    if path is None or path == STDOUT:
        terminal.write_bytes(rendered(picture, form))
        return 0
    write_report(picture, path, form)
    if not quiet:
        _tell(picture, path, linked=form == "html")
    return 0


def refuse(log: Path, path: Path, *, force: bool) -> None:
    """Refuse to overwrite the log, or anything that nobody said may be.

    Raises:
        InputError: The text names the file.
    """
    if os.path.realpath(log) == os.path.realpath(path):
        raise InputError(f"will not overwrite {path}: it is the log")
    if not force and os.path.lexists(path) and not str(path).startswith("/dev/"):
        raise InputError(
            f"will not overwrite {path}: give --force, or another file with -o"
        )


def _tell(picture: Picture, path: Path, *, linked: bool) -> None:
    terminal.say(f"{path}: {picture.notice or f'all {picture.events:,} events'}")
    for flag in picture.flags[:1]:
        where = f": {path}#s{flag.step}" if linked else ""
        terminal.say(f"violation of {flag.checker} in step {flag.step:,}{where}")


def _stem(log: Path) -> Path:
    """The log's name without what says that it is one."""
    for suffix in (".gz", ".jsonl"):
        if log.suffix == suffix:
            log = log.with_suffix("")
    return log
