"""Exchange neighbouring steps that are said not to depend on each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from rcu.schedule.pool import TaskPool
from scenarios.strategies.replay import ReplayDivergedError
from tests.support.running import Build, Run, run_again

T = TypeVar("T")
V = TypeVar("V")


def exchangeable(run: Run[T]) -> Iterator[int]:
    """Places where a step and the next are of two tasks and independent."""
    order, operations = run.order, run.operations
    for place in range(len(order) - 1):
        if order[place] != order[place + 1] and not operations[place].depends_on(
            operations[place + 1]
        ):
            yield place


async def difference(
    pool: TaskPool, run: Run[T], place: int, build: Build[T], *, cpus: int = 1
) -> str | None:
    """What changes besides their order if the two steps at ``place`` are exchanged.

    Nothing should. If something does, one of the two reads or writes what its
    operation does not name, and no search may rely on the operations.
    """
    order, steps = _exchanged(run.order, place), _exchanged(run.steps, place)
    pair = f"{run.steps[place]} / {run.steps[place + 1]}"
    try:
        again = await run_again(pool, order, build, cpus=cpus)
    except ReplayDivergedError as error:
        return f"{pair}: {error}"
    if again.steps != steps:
        return f"{pair}: other steps follow"
    if _by_actor(again) != _by_actor(run):
        return f"{pair}: another story is told"
    return None


def _exchanged(steps: tuple[V, ...], place: int) -> tuple[V, ...]:
    return (*steps[:place], steps[place + 1], steps[place], *steps[place + 2 :])


def _by_actor(run: Run[T]) -> list[tuple[str, str]]:
    return sorted((actor, repr(event)) for _, actor, event in run.records)
