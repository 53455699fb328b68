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
from scenarios.errors import InputError
from scenarios.plan import Plan
from scenarios.planner import MAX_CALLS, find, plan_for, plans_for
from scenarios.trace_account import notes_of

ROOM = 30
"""Columns that a description needs beside the name; else it stands below."""


def list_scenarios(
    *,
    family: str | None = None,
    format: output.Format = "text",  # noqa: A002 - the option's name
) -> int:
    """Show the scenarios of the catalogue.

    Args:
        family: Only those that belong to it, such as `race` or `dirty-log`.
        format: `json` prints one array and nothing else.
    """
    plans = _of_family(family)
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
    for name, of, tasks, text in rows:
        head = f"{name:<{names}}  {of:<{families}}  {tasks:>5}  "
        if console.is_terminal and console.width < len(head) + ROOM:
            head = hang(console, "    ", f"{name}  {of}  {tasks}").lstrip()
            console.print(f"{head}\n{hang(console, '    ', text)}")
        else:
            console.print(hang(console, head, text))
    return 0


def _of_family(family: str | None) -> dict[str, Plan]:
    """The plans of the catalogue's scenarios, by name.

    Raises:
        InputError: None of them belongs to ``family``.
    """
    plans = {name: plan_for(name) for name in entries()}
    families = sorted({plan.scenario.family for plan in plans.values()})
    if family is None:
        return plans
    if family not in families:
        raise InputError(
            f"--family {family}: no scenario belongs to it; families are"
            f" {', '.join(families)}"
        )
    return {
        name: plan for name, plan in plans.items() if plan.scenario.family == family
    }


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
        vm: Which VM of a trace; by default all.
        max_calls: Updates of a trace that are read at most.
        format: `json` prints one object; `file` prints the scenario's own file, to be
            copied and changed.
    """
    plans = plans_for(scenario, vm=vm, max_calls=max_calls)
    if format == "json":
        told = [_as_dict(plan) for plan in plans]
        output.print_json(told[0] if len(told) == 1 else {"vms": told})
    elif format == "file":
        _print_file(find(scenario))
    else:
        for plan in plans:
            _print(plan)
            if plan is not plans[-1]:
                terminal.write("\n")
    output.print_notes(notes_of(plan.account for plan in plans))
    return 0


def _print(plan: Plan) -> None:
    console = terminal.stdout()
    output.print_title(console, plan.scenario.name, f"family {plan.scenario.family}")
    description = one_line(" ".join(plan.scenario.description.split()))
    if description:
        console.print(f"{hang(console, '', description)}\n")
    facts = {
        "tasks": ", ".join(_tasks(plan)),
        "checkers": ", ".join(plan.scenario.checkers or CHECKERS),
    }
    if plan.account is not None and plan.account.overlap is not None:
        facts["overlapping calls"] = str(plan.account.overlap)
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
    if scenario.protocol is not None:
        return [*scenario.protocol.tasks]
    writers = plan.work.calls if plan.work else [w.name for w in scenario.writers]
    return [
        *(f"vcpu{index}" for index in range(scenario.vcpu_count)),
        *writers,
        *(reader.name for reader in scenario.readers),
        *(notifier.name for notifier in scenario.notifiers),
        *(allocator.name for allocator in scenario.allocators),
    ]


def _as_dict(plan: Plan) -> dict[str, object]:
    return {
        "name": plan.scenario.name,
        "family": plan.scenario.family,
        "description": " ".join(plan.scenario.description.split()),
        "tasks": _tasks(plan),
        "checkers": plan.scenario.checkers or tuple(CHECKERS),
        "ignored_lines": None if plan.account is None else plan.account.as_dict(),
    }
