"""What never comes to its end, as orders that can be shown."""

from __future__ import annotations

from functools import partial

import attrs

from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from scenarios.explorer.liveness import livelocks, starvation
from scenarios.explorer.program import Finding, Instance, Program
from scenarios.explorer.repeats import Run, run_once
from scenarios.explorer.state_rounds import StateRounds
from scenarios.strategies.replay import Replay
from scenarios.strategies.round_robin import RoundRobin


@attrs.frozen
class Endless:
    """Something that never ends.

    Attributes:
        finding: What.
        run: That shows it.
    """

    finding: Finding
    run: Run


@attrs.define
class _Searched:
    """What `livelocks` has to know of a search."""

    graph: object
    instance: Instance


async def livelock_orders(
    program: Program, pool: TaskPool, rounds: StateRounds
) -> list[Endless]:
    """The livelocks of a program of which every state was visited by itself."""
    if rounds.kin or rounds.interleavings is not None:
        return []
    instance = Instance(program)
    instance.scheduler.borrowed(await pool.lend(instance.scheduler))
    try:
        found = livelocks(_Searched(rounds.graph, instance))  # type: ignore[arg-type]
    finally:
        instance.close()
    return [
        Endless(finding, await _run(program, pool, loop.before + loop.steps))
        for finding, loop in found
    ]


async def starving_order(program: Program, pool: TaskPool) -> list[Endless]:
    """Who starves though everybody has his turn, if anybody does."""
    scheduler, _ = program.build(partial(ControlledScheduler, RoundRobin()))
    finding = await starvation(program, pool, scheduler.budget)
    if finding is None:
        return []
    return [Endless(finding, await run_once(program, pool, RoundRobin()))]


async def _run(program: Program, pool: TaskPool, order: tuple[int, ...]) -> Run:
    return await run_once(program, pool, Replay(order), len(order))
