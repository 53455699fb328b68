"""`memslots mutants`: the protocol broken on purpose."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import App, Parameter
from cyclopts.validators import Number

from scenarios.cli import mutant_results as told
from scenarios.cli import output, terminal
from scenarios.cli.drawing import draw_run
from scenarios.cli.keeping import keep_order
from scenarios.errors import InputError
from scenarios.explorer.program import Finding
from scenarios.mutants.batch import Batch, Results
from scenarios.mutants.mutant import MUST_NOTICE
from scenarios.mutants.registry import Registered, chosen, limits, one
from scenarios.mutants.story import story_of
from scenarios.mutants.trying import plan_of
from scenarios.strategies.replay import Replay

MAX_JOBS = 1024

app = App(
    name="mutants",
    help="Break the protocol on purpose, and see who notices.",
    help_format="markdown",
    version_flags=(),
)


@app.default
def show_all(
    *,
    format: output.Format = "text",  # noqa: A002 - the option's name
) -> int:
    """List the mutants: the protocol with one step left out or exchanged.

    Args:
        format: `json` prints one object and nothing else.
    """
    if format == "json":
        output.print_json(told.list_as_dict(chosen([]), limits()))
    else:
        told.print_list(terminal.stdout(), chosen([]), limits())
    return 0


@app.command(name="run")
def run(
    *mutants: str,
    without: str | None = None,
    jobs: Annotated[
        int | None, Parameter(validator=Number(gte=1, lte=MAX_JOBS))
    ] = None,
    schedules: Path | None = None,
    format: Literal["text", "json", "junit"] = "text",  # noqa: A002 - the option's name
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> int:
    """Try mutants: search for the shortest order that shows each, and who notices.

    Each mutant's twin, the protocol as it is in the same scenario, must hold. The exit
    code is 1 if a mutant survives or a twin fails.

    Args:
        mutants: Ids such as 14 or R3, families, or files of your own (.py); by default
            all of the package.
        without: A checker that does not look; by default the mutants are those that it
            must notice, and no twins are tried.
        jobs: How many processes try them; by default one for each processor.
        schedules: Write the shortest order of each into this folder, for
            `memslots replay`.
        format: `json` prints one object, `junit` one XML document, and nothing else.
        quiet: Tell nothing while they are tried.
    """
    if without is not None and without not in MUST_NOTICE:
        raise InputError(
            f"--without {without}: there is no such checker; there are"
            f" {', '.join(MUST_NOTICE)}"
        )
    wanted = chosen(mutants)
    if without is not None and not mutants:
        wanted = [each for each in wanted if each.mutant.checker == without]
    batch = Batch(wanted, without=() if without is None else (without,))
    shown = told.Trying(batch, wanted=not quiet)
    results = batch.run(jobs or os.cpu_count() or 1, shown.note)
    if schedules is not None:
        _keep(schedules, wanted, results)
    if format == "json":
        output.print_json(told.results_as_dict(wanted, results, without))
    elif format == "junit":
        terminal.write(told.as_junit(wanted, results))
    else:
        told.print_results(terminal.stdout(), wanted, results, without)
    return 0 if results.is_good else 1


def _keep(folder: Path, wanted: Sequence[Registered], results: Results) -> None:
    """Write the shortest order of each mutant.

    Raises:
        InputError: One cannot be written.
    """
    for registered, tried in zip(wanted, results.mutants, strict=True):
        if tried.order:
            finding = Finding(tried.killed_by, tried.seen)
            path = folder / f"{registered.mutant.id}.json"
            plan = attrs.evolve(plan_of(registered), strategy=tried.strategy)
            keep_order(plan, tried.order, finding, path)


@app.command(name="show")
def show(
    mutant: str,
    /,
    *,
    report: Path | None = None,
    format: output.Format = "text",  # noqa: A002 - the option's name
) -> int:
    """Tell a mutant's story: the step, its history, the shortest order that shows it.

    Args:
        mutant: An id such as 14 or R3, or a file of your own with an id, as in
            mine.py:14.
        report: Draw that order and write the picture to this file: HTML to step
            through, or what the end of its name stands for; see `memslots timeline`.
        format: `json` prints one object and nothing else.
    """
    registered = one(mutant)
    story = story_of(registered)
    if report is not None:
        order = Replay([step.task for step in story.steps], whole=False)
        draw_run(plan_of(registered), None, report, order=order)
    if format == "json":
        output.print_json(told.story_as_dict(registered, story))
    else:
        told.print_story(terminal.stdout(), registered, story)
    return 0
