"""Why an order breaks something, in one sentence.

Two steps of different tasks *race* if nothing but the state that both touch puts one
after the other: they could be made the other way round. Of the races of an order that
one counts that made the difference: the last without which the run goes well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import trio

from rcu.operation import Location, Operation
from rcu.schedule.pool import TaskPool, open_pool
from rcu.schedule.report import Stuck
from scenarios.checkers.judge import CHECKERS
from scenarios.explorer.blocks import Step
from scenarios.explorer.happens_before import Accesses, Run
from scenarios.explorer.program import Finding, Program
from scenarios.explorer.retell import Retold, retell

MOST_RACES = 200
"""Races of an order, from its end, that are tried the other way round."""

AHEAD = 1_000
"""Steps that another task makes at most ahead of a step, to see what that changes."""

FURTHER = 100_000
"""Steps after which a run that was tried is taken to go well."""


@attrs.frozen
class Story:
    """What is told of an order.

    Attributes:
        steps: Of the order.
        sentence: Which two steps made the difference, and what should have ordered
            them; or who waits for what.
    """

    steps: tuple[Step, ...]
    sentence: str


def tell(program: Program, finding: Finding, order: Sequence[int]) -> Story:
    """Tell why an order breaks something.

    Args:
        program: What is run.
        finding: What the order shows.
        order: Who makes each step, as task indexes.

    Cost: A run for each race that is tried.
    """

    async def body() -> Story:
        async with open_pool() as pool:
            return await tell_in_trio(program, pool, finding, order)

    return trio.run(body)


async def tell_in_trio(
    program: Program, pool: TaskPool, finding: Finding, order: Sequence[int]
) -> Story:
    """See `tell`."""
    run = await retell(program, pool, order)
    if finding.checker == "livelock":
        sentence = _tell_loop(finding)
    elif finding.checker == "starvation":
        sentence = f"Everybody who can go on goes on in turn, and yet {finding.seen}."
    elif run.stuck:
        sentence = _tell_stuck(run, finding)
    else:
        sentence = await _tell_race(program, pool, run, finding)
    return Story(run.steps, sentence)


# Two steps that race.


@attrs.frozen
class Race:
    """Two steps that could be made the other way round, by place."""

    first: int
    second: int


def races_of(run: Retold) -> list[Race]:
    """The races of a run, the last one first."""
    accesses, order = Accesses(), Run()
    found = []
    for place, step in enumerate(run.steps):
        access = accesses.of(run.operations[place])
        event = order.add(step.task, access, waits=run.waits[place])
        found += [Race(first, place) for first in event.races]
    return sorted(found, key=lambda race: (race.second, race.first), reverse=True)


async def _tell_race(
    program: Program, pool: TaskPool, run: Retold, finding: Finding
) -> str:
    races = races_of(run)
    for race in races[:MOST_RACES]:
        if await _made_the_difference(program, pool, run, race, finding):
            return _tell_pair(run, race, finding)
    early = await _tell_too_early(program, pool, run, finding)
    if early:
        return early
    if races:
        return _tell_pair(run, races[0], finding)
    return f"No two steps of different tasks meet in this order: {rule_of(finding)}."


def _tell_pair(run: Retold, race: Race, finding: Finding) -> str:
    first, second = race.first, race.second
    return _tell_meeting(
        f"{_sentence(_tell_step(run, first))} and {_tell_step(run, second)}",
        run.operations[first],
        run.operations[second],
        finding,
    )


def _tell_meeting(who: str, one: Operation, other: Operation, finding: Finding) -> str:
    return (
        f"{who} meet at {_where(one, other)} and could as well be made the other way"
        f" round; what should have ordered them: {rule_of(finding)}."
    )


async def _tell_too_early(
    program: Program, pool: TaskPool, run: Retold, finding: Finding
) -> str:
    """Which step comes before one that another task has not made; empty if none."""
    tasks = [step.task for step in run.steps]
    last = len(tasks) - 1
    for place in range(last, max(-1, last - MOST_RACES), -1):
        for task in run.others(tasks[place]):
            order = [*tasks[:place], *[task] * AHEAD, *tasks[place:]]
            other = await retell(program, pool, order, further=FURTHER)
            missed = _missed(run, other, place, task)
            if missed is not None and not _shows(other, finding):
                op = other.operations[missed]
                name = other.steps[missed].name
                who = (
                    f"{_sentence(_tell_step(run, place))} and what {name} has not done"
                    f" by then ({op})"
                )
                return _tell_meeting(who, run.operations[place], op, finding)
    return ""


def _missed(run: Retold, other: Retold, place: int, task: int) -> int | None:
    """The first step that a task makes ahead of a step and that has to do with it."""
    accesses = Accesses()
    access = accesses.of(run.operations[place])
    for ahead in range(place, len(other.steps)):
        if other.steps[ahead].task != task:
            break
        if accesses.of(other.operations[ahead]).depends_on(access):
            return ahead
    return None


def _shows(run: Retold, finding: Finding) -> bool:
    """Whether a run breaks the same rule."""
    return run.finding is not None and run.finding.checker == finding.checker


async def _made_the_difference(
    program: Program, pool: TaskPool, run: Retold, race: Race, finding: Finding
) -> bool:
    """Whether the run goes well if the second of two steps is made first."""
    order = _turned(run, race)
    other = await retell(program, pool, order, further=FURTHER)
    length = race.first + 1
    made = [step.task for step in other.steps[:length]]
    if made != order[:length]:
        return False  # the second waits for the first
    return not _shows(other, finding)


def _turned(run: Retold, race: Race) -> list[int]:
    """The order with the second step of a race, and all it needs, before the first."""
    tasks = [step.task for step in run.steps]
    needed = set(_needed(run, race))
    before = [*range(race.first), *sorted(needed), race.second]
    behind = [place for place in range(len(tasks)) if place not in {*before}]
    return [tasks[place] for place in (*before, *behind)]


def _needed(run: Retold, race: Race) -> Iterator[int]:
    """The steps between those of a race that do not happen after its first."""
    accesses, order = Accesses(), Run()
    for place, step in enumerate(run.steps[: race.second]):
        access = accesses.of(run.operations[place])
        event = order.add(step.task, access, waits=run.waits[place])
        if place > race.first and not event.past >> race.first & 1:
            yield place


def rule_of(finding: Finding) -> str:
    """The rule that was broken."""
    if finding.why:
        return finding.why
    checker = CHECKERS.get(finding.checker)
    return finding.seen if checker is None else checker.sentence


def _where(one: Operation, other: Operation) -> str:
    """What two operations meet at."""
    shared = [at.name for at in one.locations if _touches(other, at)]
    return " and ".join(dict.fromkeys(shared))


def _touches(op: Operation, at: Location) -> bool:
    return any(at.name == other.name for other in op.locations)


def _tell_step(run: Retold, place: int) -> str:
    step = run.steps[place]
    return f"step {place + 1:,} ({step.name}: {step.does})"


# Tasks that wait.


def _tell_stuck(run: Retold, finding: Finding) -> str:
    """Who waits for what, and since when it is so."""
    waiting = zip(run.stuck, run.pending, strict=True)
    told = "; ".join(_tell_waiting(run, stuck, op) for stuck, op in waiting)
    return f"At the end {told}; what should hold: {rule_of(finding)}."


def _tell_waiting(run: Retold, stuck: Stuck, op: Operation) -> str:
    text = f"{stuck.task} waits to {op}"
    last = max(_writers(run, stuck, op), default=None)
    if stuck.held_by:
        text += f", which {stuck.held_by} holds"
        if last is not None:
            text += f" since step {last + 1:,}"
    elif last is None:
        text += ", which nobody else has changed"
    else:
        text += f", which somebody else changed last in {_tell_step(run, last)}"
    if stuck.sections:
        text += f", inside a read section of {', '.join(stuck.sections)}"
    return text


def _writers(run: Retold, stuck: Stuck, pending: Operation) -> Iterator[int]:
    """The steps of others that wrote what a task waits for; of a lock, its holder's."""
    names = {at.name for at in pending.locations}
    for place, op in enumerate(run.operations):
        by = run.steps[place].name
        wanted = by == stuck.held_by if stuck.held_by else by != stuck.task
        if wanted and any(at.name in names for at in op.writes):
            yield place


def _tell_loop(finding: Finding) -> str:
    steps = finding.seen.removeprefix("for ever ")
    return (
        "The last steps lead back to where they began, and whoever could end it takes"
        f" part in it: {steps}."
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
