"""`memslots log`: a log is asked, counted and compared."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from scenarios.cli import log_results as told
from scenarios.cli import output, terminal
from scenarios.errors import InputError
from scenarios.logbook.query import Database, ask
from scenarios.logbook.short_questions import CONTEXT, Short, question_of

app = App(
    name="log",
    help="Ask a log, count what is in it, or compare it with another.",
    help_format="markdown",
    version_flags=(),
)

Several = Annotated[list[str] | None, Parameter(negative="", json_list=False)]
Count = Annotated[int | None, Parameter(validator=Number(gte=0))]


@app.command(name="query")
def query(
    log: Annotated[Path, Parameter(name="LOG")],
    sql: str | None = None,
    /,
    *,
    event: Several = None,
    actor: Several = None,
    around: Count = None,
    context: Count = None,
    since: Count = None,
    until: Count = None,
    format: Literal["table", "csv", "json"] = "table",  # noqa: A002 - the option's name
) -> int:
    """Ask a log: in SQL over its events and what is made of them, or by options.

    The tables are events, sections, grace_periods, updates, lookups, locks, swaps,
    waits, set_reads, and slots_at(seq). A question is one SELECT of DuckDB's SQL, as in
    `SELECT actor, max(steps) FROM sections GROUP BY actor`. It can read nothing but the
    log, and write nothing.

    Args:
        log: A log that `memslots run --log` wrote, also gzipped; `-` is standard input.
        sql: The question; without it the options say which events to show.
        event: Only events of this kind; may be given several times.
        actor: Only what this task did; may be given several times.
        around: Only the record of this number, and those around it.
        context: How many before and behind; by default 5.
        since: Only from this step on.
        until: Only up to this step.
        format: `csv` and `json` print that and nothing else.
    """
    short = Short(
        events=tuple(event or ()),
        actors=tuple(actor or ()),
        around=around,
        context=CONTEXT if context is None else context,
        since=since,
        until=until,
    )
    if context is not None and around is None:
        raise InputError("--context: there is nothing to be around; give --around SEQ")
    if sql is not None and short != Short():
        raise InputError("give SQL or options that choose events, not both")
    if sql is not None:
        answer = ask(log, sql)
    else:
        text, parameters = question_of(short)
        answer = ask(log, text, parameters)
    told.WAYS[format](answer)
    return 0


@app.command(name="stats")
def stats(
    log: Annotated[Path, Parameter(name="LOG")],
    /,
    *,
    format: output.Format = "text",  # noqa: A002 - the option's name
) -> int:
    """Count what is in a log: how long sections and grace periods took, who waited.

    Args:
        log: A log that `memslots run --log` wrote, also gzipped; `-` is standard input.
        format: `json` prints one object and nothing else.
    """
    # Not needed to ask.
    from scenarios.logbook.statistics import QUESTIONS, statistics  # noqa: PLC0415

    counted = statistics(Database.of(log, *QUESTIONS.values()))
    if format == "json":
        output.print_json({"log": output.json_path(log)} | counted.as_dict())
    else:
        told.print_statistics(terminal.stdout(), str(log), counted)
    return 0


@app.command(name="diff")
def diff(
    a: Annotated[Path, Parameter(name="A")],
    b: Annotated[Path, Parameter(name="B")],
    /,
    *,
    context: Annotated[int, Parameter(validator=Number(gte=0, lte=1_000))] = 5,
    format: output.Format = "text",  # noqa: A002 - the option's name
) -> int:
    """Show where two runs part: the first record that differs, and how they go on.

    The exit code is 0 if their records and their endings are the same, 1 if not.

    Args:
        a: A log that `memslots run --log` wrote, also gzipped.
        b: Another; one of them may be `-`, standard input.
        context: How many records before and behind to show.
        format: `json` prints one object and nothing else.
    """
    # Not needed to ask.
    from scenarios.logbook.parting import part  # noqa: PLC0415

    parting = part(a, b, context)
    if format == "json":
        output.print_json(parting.as_dict())
    else:
        told.print_parting(terminal.stdout(), parting)
    return 0 if parting.equal else 1


@app.command(name="lnav-format")
def lnav_format() -> int:
    """Print a format file for lnav, the log navigator.

    `memslots log lnav-format > memslots.json; lnav -i memslots.json` installs it.
    """
    file = resources.files("scenarios.logbook") / "lnav.json"
    terminal.write(file.read_text())
    return 0
