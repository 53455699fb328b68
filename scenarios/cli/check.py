"""`memslots check`."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from scenarios.checkers.judge import Judgement, Verdict
from scenarios.cli import output, terminal
from scenarios.cli.check_results import Checked, Tap, as_github, as_junit
from scenarios.cli.exit_codes import BY_VERDICT, USAGE
from scenarios.errors import InputError
from scenarios.logbook.check import check_log
from scenarios.logbook.lines import STDIN

Format = Literal["text", "json", "junit", "github", "tap"]

COLLECT_AFTER = 1_000_000
"""New objects after which Python looks for cycles, of which a log makes none."""

_WORST = (Verdict.VIOLATION, Verdict.INCONCLUSIVE, Verdict.HOLDS)


def check(
    # A name may begin with a bracket; it is no JSON then.
    logs: Annotated[list[Path], Parameter(name="LOG", negative="", json_list=False)],
    /,
    *,
    format: Format = "text",  # noqa: A002 - the option's name
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    verbose: Annotated[bool, Parameter(alias="-v", negative="")] = False,
) -> int:
    """Judge logs that runs have left, from the logs alone.

    Args:
        logs: Logs that `memslots run --log` wrote, also gzipped; `-` is standard input.
        format: `json` prints one object a log and nothing else; `junit`, `github` and
            `tap` are for whoever runs this.
        quiet: Print nothing unless it does not hold.
        verbose: Print every mismatch and violation.
    """
    if logs.count(STDIN) > 1:
        raise InputError("standard input can be read only once; give - once")
    gc.set_threshold(COLLECT_AFTER)
    tap = Tap()
    tell: dict[str, Callable[[Checked], str]] = {"github": as_github, "tap": tap.add}
    checked = []
    terminal.write(tap.begin() if format == "tap" else "")
    for path in logs:
        log = _checked(path, quiet=quiet)
        checked.append(log)
        if format in tell:
            terminal.write(tell[format](log))
        elif log.judgement is None:
            continue
        elif format == "json":
            described = output.judgement_as_dict(log.judgement)
            output.print_json({"log": output.json_path(path)} | described)
        elif format == "text" and not (quiet and log.good):
            _print(log.name, log.judgement, verbose=verbose)
    terminal.write(tap.end() if format == "tap" else "")
    terminal.write(as_junit(checked) if format == "junit" else "")
    return _exit_code(checked)


def _checked(path: Path, *, quiet: bool) -> Checked:
    """Judge one log; one that cannot be read does not keep others from being."""
    name = "standard input" if path == STDIN else str(path)
    try:
        with output.Progress(name, wanted=not quiet, unit="events") as tell:
            return Checked(name, check_log(path, tell))
    except InputError as error:
        terminal.say(f"error: {error}")
        return Checked(name, None, error)


def _exit_code(checked: Sequence[Checked]) -> int:
    verdicts = [log.judgement.verdict for log in checked if log.judgement is not None]
    if len(verdicts) < len(checked):
        return USAGE
    return BY_VERDICT[min(verdicts, key=_WORST.index).value]


def _print(name: str, judgement: Judgement, *, verbose: bool) -> None:
    console = terminal.stdout()
    output.print_title(console, name, "")
    facts = output.facts(judgement)
    output.print_judgement(console, judgement, facts, verbose=verbose)
