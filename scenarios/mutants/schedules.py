"""The shortest order that shows each mutant, kept and made again."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import attrs
import trio

from rcu.schedule.pool import TaskPool, open_pool
from scenarios.explorer.repeats import Run, run_once
from scenarios.mutants.registry import Registered, registered
from scenarios.mutants.trying import program_of
from scenarios.schedule_file import Schedule, read_schedule
from scenarios.strategies.replay import Replay, ReplayDivergedError


def folder() -> Path:
    """Where those of the package are."""
    with resources.as_file(resources.files("scenarios.mutants") / "shortest") as path:
        return path


def path_of(registered: Registered) -> Path:
    """Where the order of a mutant of the package is kept."""
    return folder() / f"{registered.mutant.id}.json"


def kept(registered: Registered) -> Schedule | None:
    """The order of a mutant of the package; None if none is kept."""
    path = path_of(registered)
    if registered.source or not path.exists():
        return None
    return read_schedule(path)


def kept_orders() -> list[tuple[Registered, Schedule]]:
    """The orders of all mutants of the package that have one."""
    orders = ((each, kept(each)) for each in registered().values())
    return [(each, schedule) for each, schedule in orders if schedule is not None]


@attrs.frozen
class Again:
    """A kept order that was made again.

    Attributes:
        registered: The mutant.
        run: What came of it; None if it went another way.
        diverged: Why it did; empty if it did not.
    """

    registered: Registered
    run: Run | None
    diverged: str = ""


def make_again(each: Iterable[tuple[Registered, Schedule]]) -> list[Again]:
    """Make kept orders again, each once.

    Args:
        each: Mutants with their orders.
    """

    async def body() -> list[Again]:
        async with open_pool() as pool:
            return [await _again(pool, *one) for one in each]

    return trio.run(body)


async def _again(pool: TaskPool, registered: Registered, schedule: Schedule) -> Again:
    order, does = schedule.order(), schedule.does()
    try:
        run = await run_once(
            program_of(registered), pool, Replay(order, does), len(order)
        )
    except ReplayDivergedError as error:
        return Again(registered, None, str(error))
    if len(run.steps) < len(order):
        return Again(
            registered, run, f"it ends after {len(run.steps)} of {len(order)} steps"
        )
    return Again(registered, run)
