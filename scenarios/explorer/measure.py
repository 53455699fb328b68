"""How long the runs of a program are, for samplers that plan ahead."""

from __future__ import annotations

from functools import partial

from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from scenarios.explorer.program import Program
from scenarios.strategies.lengths import Lengths
from scenarios.strategies.pilot import RUNS, Pilot


async def measure(program: Program, pool: TaskPool) -> Lengths:
    """Run a program a few times, always in the same orders, and say how long it was.

    Whoever learns from it draws from a seed the order that everybody else draws who has
    measured the same program.

    Args:
        program: What is run, each time built anew.
        pool: Where its tasks run.
    """
    pilot = Pilot()
    for _ in range(RUNS):
        scheduler, _watch = program.build(partial(ControlledScheduler, pilot))
        await pool.run(scheduler)
    return pilot.lengths
