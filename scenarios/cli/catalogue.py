"""`memslots list` and `memslots describe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from scenarios.catalogue.entries import entries
from scenarios.checkers.judge import CHECKERS
from scenarios.cli import output, terminal
from scenarios.cli.terminal import hang, one_line
from scenarios.planner import MAX_CALLS, find, plan_for
from scenarios.runner import Plan

ROOM = 30
"""Columns that a description needs beside the name; else it stands below."""


def list_scenarios(
    *,
    format: output.Format = "text",  # noqa: A002 - the option's name
) -> int:
    """Show the scenarios of the catalogue.

    Args:
        format: `json` prints one array and nothing else.
    """
    plans = {name: plan_for(name) for name in entries()}
    if format == "json":
        output.print_json([_as_dict(plan) for plan in plans.values()])
        return 0
    console = terminal.stdout()
    rows = [("name", "family", "tasks", "what it shows")]
    for name, plan in plans.items():
        first = " ".join(plan.scenario.description.split()).split(". ", 1)[0]
        text = f"{first.removesuffix('.')}."
        rows.append((name, plan.scenario.family, str(len(_tasks(plan))), text))
    names, families = (max(len(row[place]) for row in rows) for place in (0, 1))
    for name, family, tasks, text in rows:
        head = f"{name:<{names}}  {family:<{families}}  {tasks:>5}  "
        if console.is_terminal and console.width < len(head) + ROOM:
            console.print(f"{head.rstrip()}\n{hang(console, '    ', text)}")
        else:
            console.print(hang(console, head, text))
    return 0


def describe(
    scenario: str,
    /,
    *,
    vm: str | None = None,
    max_calls: Annotated[int, Parameter(validator=Number(gte=1))] = MAX_CALLS,
    format: Literal["text", "json", "file"] = "text",  # noqa: A002 - the option's name
) -> int:
    """Say what a scenario or a trace does.

    Args:
        scenario: A name that `memslots list` shows, a scenario file or a trace.
        vm: Which VM of a trace that has several.
        max_calls: Updates of a trace that are read at most.
        format: `json` prints one object; `file` prints the scenario's own file, to be
            copied and changed.
    """
    plan = plan_for(scenario, vm=vm, max_calls=max_calls)
    if format == "json":
        output.print_json(_as_dict(plan))
    elif format == "file":
        _print_file(find(scenario))
    else:
        _print(plan)
    if plan.account is not None:
        output.print_notes(plan.account.notes())
    return 0


def _print(plan: Plan) -> None:
    console = terminal.stdout()
    output.print_title(console, plan.scenario.name, f"family {plan.scenario.family}")
    description = one_line(" ".join(plan.scenario.description.split()))
    if description:
        console.print(f"{hang(console, '', description)}\n")
    facts = {
        "tasks": ", ".join(_tasks(plan)),
        "checkers": ", ".join(plan.scenario.must_exercise or CHECKERS),
    }
    if plan.account is not None and plan.account.others():
        facts["other lines"] = plan.account.others()
    width = max(map(len, facts))
    for label, value in facts.items():
        console.print(hang(console, f"{label:<{width}}  ", one_line(value)))


def _print_file(path: Path) -> None:
    """Print a file as it is, byte for byte."""
    with path.open("rb") as file:
        while block := file.read(1 << 16):
            terminal.write_bytes(block)


def _tasks(plan: Plan) -> list[str]:
    scenario = plan.scenario
    writers = plan.work.calls if plan.work else [w.name for w in scenario.writers]
    return [
        *(f"vcpu{index}" for index in range(scenario.vcpu_count)),
        *writers,
        *(reader.name for reader in scenario.readers),
        *(allocator.name for allocator in scenario.allocators),
    ]


def _as_dict(plan: Plan) -> dict[str, object]:
    return {
        "name": plan.scenario.name,
        "family": plan.scenario.family,
        "description": " ".join(plan.scenario.description.split()),
        "tasks": _tasks(plan),
        "checkers": plan.scenario.must_exercise or tuple(CHECKERS),
        "ignored_lines": None if plan.account is None else plan.account.as_dict(),
    }
