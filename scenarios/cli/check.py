"""`memslots check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from scenarios.checkers.judge import Judgement, Verdict
from scenarios.cli import output, terminal
from scenarios.cli.exit_codes import BY_VERDICT
from scenarios.logbook.check import check_log

_WORST = (Verdict.VIOLATION, Verdict.INCONCLUSIVE, Verdict.HOLDS)


def check(
    # A name may begin with a bracket; it is no JSON then.
    logs: Annotated[list[Path], Parameter(name="LOG", negative="", json_list=False)],
    /,
    *,
    format: output.Format = "text",  # noqa: A002 - the option's name
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    verbose: Annotated[bool, Parameter(alias="-v", negative="")] = False,
) -> int:
    """Judge logs that runs have left, from the logs alone.

    Args:
        logs: Logs that `memslots run --log` wrote.
        format: `json` prints one object a log and nothing else.
        quiet: Print nothing unless it does not hold.
        verbose: Print every mismatch and violation.
    """
    judgements = []
    for path in logs:
        judgement = check_log(path)
        judgements.append(judgement)
        if format == "json":
            described = output.judgement_as_dict(judgement)
            output.print_json({"log": output.json_path(path)} | described)
        elif not quiet or judgement.verdict is not Verdict.HOLDS:
            _print(path, judgement, verbose=verbose)
    worst = min((each.verdict for each in judgements), key=_WORST.index)
    return BY_VERDICT[worst.value]


def _print(path: Path, judgement: Judgement, *, verbose: bool) -> None:
    console = terminal.stdout()
    output.print_title(console, str(path), "")
    facts = output.facts(judgement)
    output.print_judgement(console, judgement, facts, verbose=verbose)
