"""How long runs are, measured in orders that do not change."""

from __future__ import annotations

from rcu.schedule.pool import TaskPool
from scenarios.strategies.lengths import Lengths
from scenarios.strategies.pilot import Pilot
from tests.scenarios.strategies.delete_protocol import DeleteProtocol
from tests.scenarios.strategies.small_programs import Program, Runner, independent

LOCKED: Program = [[("acquire", 0), ("release", 0)], [("acquire", 0), ("release", 0)]]


async def test_it_counts_the_steps_of_each_task(pool: TaskPool) -> None:
    pilot = Pilot()
    await Runner(pilot, independent(4, 1, 2)).run(pool)
    assert pilot.lengths.steps == (4, 1, 2)


async def test_a_step_that_only_one_can_make_is_no_choice(pool: TaskPool) -> None:
    """Who is first has a choice; then one holds the lock and the other is alone."""
    pilot = Pilot()
    await Runner(pilot, LOCKED).run(pool)
    assert pilot.lengths == Lengths(choices=1, steps=(2, 2))


async def test_of_several_runs_the_most_counts(pool: TaskPool) -> None:
    pilot = Pilot()
    runner = Runner(pilot, independent(3, 3))
    choices = []
    for _ in range(10):
        order = await runner.run(pool)
        done_at = min(len(order) - order[::-1].index(index) for index in (0, 1))
        choices.append(done_at)
        assert pilot.lengths == Lengths(max(choices), (3, 3))
    assert min(choices) < max(choices) == 5


async def test_it_measures_the_same_each_time(pool: TaskPool) -> None:
    lengths = [await DeleteProtocol.measure(pool) for _ in range(2)]
    assert lengths == [Lengths(choices=21, steps=(7, 7, 13))] * 2
