"""The story of a mutant: the shortest order that shows it, beside the right one."""

from __future__ import annotations

import attrs
import trio

from rcu.schedule.pool import open_pool
from scenarios.errors import InputError
from scenarios.explorer.blocks import Step, preemptions
from scenarios.explorer.machine_program import MachineProgram
from scenarios.explorer.program import Finding
from scenarios.explorer.repeats import run_once
from scenarios.explorer.story import rule_of, tell
from scenarios.mutants.registry import Registered
from scenarios.mutants.schedules import kept
from scenarios.mutants.trying import plan_of, program_of, try_mutant
from scenarios.planner import plan_for
from scenarios.schedule_file import Schedule
from scenarios.strategies.replay import Replay, ReplayDivergedError


@attrs.frozen(kw_only=True)
class MutantStory:
    """What is told of a mutant.

    Attributes:
        steps: Of the shortest order that shows it.
        finding: What it shows.
        sentence: Which two steps made the difference; see `Story`.
        alike: For how many steps the right protocol goes the same way.
        instead: How it goes on; empty if it goes the same way to the end.
    """

    steps: tuple[Step, ...]
    finding: Finding
    sentence: str
    alike: int
    instead: str

    @property
    def preemptions(self) -> int:
        """How often a task was interrupted that could have gone on."""
        return preemptions(self.steps)


def story_of(registered: Registered) -> MutantStory:
    """Tell the story of a mutant.

    The order is the one that is kept of it; if there is none, it is searched for.

    Raises:
        InputError: Nothing shows it.
    """
    schedule = kept(registered)
    if schedule is None or schedule.finding is None:
        finding, order = _found(registered)
    else:
        finding, order = _kept(schedule)
    story = tell(program_of(registered), finding, order)
    alike, instead = _beside(registered, story.steps)
    sentence = story.sentence
    if not preemptions(story.steps):
        sentence = f"Nobody has to be interrupted for it. The rule: {rule_of(finding)}."
    return MutantStory(
        steps=story.steps,
        finding=finding,
        sentence=sentence,
        alike=alike,
        instead=instead,
    )


def _kept(schedule: Schedule) -> tuple[Finding, tuple[int, ...]]:
    assert schedule.finding is not None
    finding = Finding(schedule.finding.checker, schedule.finding.seen)
    return finding, tuple(schedule.order())


def _found(registered: Registered) -> tuple[Finding, tuple[int, ...]]:
    tried = try_mutant(registered)
    if not tried.killed_by:
        raise InputError(
            f"mutant {registered.name}: no order shows it ({tried.bound}); is it"
            " another protocol at all?"
        )
    return Finding(tried.killed_by, tried.seen), tried.order


def _beside(registered: Registered, steps: tuple[Step, ...]) -> tuple[int, str]:
    """How long the right protocol goes the same way, and what it does then."""
    program = MachineProgram(plan_for(plan_of(registered).source))
    order = [step.task for step in steps]
    does = [step.does for step in steps]

    async def body() -> int:
        async with open_pool() as pool:
            run = await run_once(program, pool, Replay(order, does), len(order))
            return len(run.steps)

    try:
        return trio.run(body), ""
    except ReplayDivergedError as error:
        return error.step - 1, _instead(steps[error.step - 1], error)


def _instead(step: Step, error: ReplayDivergedError) -> str:
    """How the right protocol goes on where it parts."""
    if error.would:
        return f"then {step.name} does not '{step.does}' but '{error.would}'"
    return f"then {step.name} has to wait where the mutant goes on: {step.does}"
