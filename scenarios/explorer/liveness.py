"""Tasks that never come to their end: going round for ever, or never having a turn.

A *loop* is a part of the state graph in which one can go round and round. What it means
depends on who stays out of it. If nobody does who could go on throughout, even a fair
scheduler may stay in it for ever: a livelock. If somebody does, a fair scheduler leaves
it some time, and the others only spin until he has done what they wait for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from functools import partial

import attrs

from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from scenarios.explorer.program import Finding, Instance, Program
from scenarios.explorer.states import FAILED, StateGraph, StateSearch
from scenarios.strategies.round_robin import RoundRobin

Steps = list[tuple[int, int]]
"""Who makes each step, as task index, and the state behind it."""


@attrs.frozen
class Loop:
    """Steps that lead from a state back to it.

    Attributes:
        before: The shortest order that leads to it, as task indexes.
        steps: The order of one round.
        spins_for: Tasks that could go on throughout and never do, by index. Everybody
            else makes a step in the round, or cannot at some place of it.
        passed_by: Tasks that could go on at some place and never do, by index.
    """

    before: tuple[int, ...]
    steps: tuple[int, ...]
    spins_for: tuple[int, ...]
    passed_by: tuple[int, ...] = attrs.field(default=(), eq=False)

    @property
    def is_livelock(self) -> bool:
        """Whether a fair scheduler may stay in it for ever."""
        return not self.spins_for


def livelocks(search: StateSearch) -> list[tuple[Finding, Loop]]:
    """The loops that a fair scheduler need not leave though somebody has not ended.

    Locks are fair, too: whoever waits for one has it some time, if it is free time and
    again.

    Args:
        search: Finished; with ``symmetric=False``. Its instance is used
            to tell what the steps are, and must not be closed yet.

    Raises:
        ValueError: Tasks stand for each other in its graph.
    """
    found = []
    for loop in loops(search.graph):
        if loop.is_livelock:
            finding = _tell(loop, search.instance)
            if finding is not None:
                found.append((finding, loop))
    return found


def _tell(loop: Loop, instance: Instance) -> Finding | None:
    """The steps of a loop in words; None if only daemons are left in it."""
    instance.begin()
    scheduler = instance.scheduler
    scheduler.follow(loop.before)
    if all(task.finished or task.daemon for task in scheduler.tasks):
        return None
    if any(scheduler.tasks[index].op.verb == "acquire" for index in loop.passed_by):
        return None
    steps = []
    for index in loop.steps:
        task = scheduler.tasks[index]
        steps.append(f"{task.name}: {task.op}")
        scheduler.step(task)
    seen = "for ever " + ", ".join(steps)
    return Finding("livelock", seen, "whoever goes on comes to an end")


def loops(graph: StateGraph) -> list[Loop]:
    """One loop for each part of a graph in which one can go round and round.

    The round passes by everybody: where it can, each task makes a step in it, or comes
    to where it cannot make one.

    Args:
        graph: Of a finished search of all steps, in which nobody stands for another.

    Raises:
        ValueError: Tasks stand for each other in it.

    Cost: A few visits of each edge.
    """
    steps = [list(_steps_from(graph, state)) for state in range(len(graph.ready))]
    return [_loop(steps, part) for part in _parts(steps)]


def _steps_from(graph: StateGraph, state: int) -> Iterator[tuple[int, int]]:
    for label in graph.ready[state]:
        if len(label) != 1:
            raise ValueError(
                "tasks stand for each other in this graph: search with symmetric=False"
            )
        yield label[0] - 1, graph.behind(state, label)


def _parts(steps: list[Steps]) -> list[set[int]]:
    """The parts in which each state can be reached from each (Tarjan's algorithm)."""
    number: dict[int, int] = {}
    lowest: dict[int, int] = {}
    is_open: dict[int, None] = {}  # states whose part is not known, as they were met
    parts: list[set[int]] = []
    stack: list[tuple[int, Iterator[int]]] = []

    def enter(state: int) -> None:
        number[state] = lowest[state] = len(number)
        is_open[state] = None
        behind = [other for _, other in steps[state] if other != FAILED]
        stack.append((state, iter(behind)))

    enter(0)
    while stack:
        state, rest = stack[-1]
        for behind in rest:
            if behind not in number:
                enter(behind)
                break
            if behind in is_open:
                lowest[state] = min(lowest[state], number[behind])
        else:
            stack.pop()
            if stack:
                above = stack[-1][0]
                lowest[above] = min(lowest[above], lowest[state])
            if lowest[state] == number[state]:
                part = {is_open.popitem()[0]}
                while state not in part:
                    part.add(is_open.popitem()[0])
                if any(other in part for _, other in steps[state]):
                    parts.append(part)
    return parts


def _loop(steps: list[Steps], part: set[int]) -> Loop:
    """A loop through a part of the graph, and the way to it."""
    before = _way(steps, 0, part)
    start = before[-1][1] if before else 0
    inside = {state: [s for s in steps[state] if s[1] in part] for state in part}
    ready = {state: {task for task, _ in steps[state]} for state in part}
    throughout = set.intersection(*ready.values())
    taking_part = {task for state in part for task, _ in inside[state]}
    walk: Steps = []
    state = start
    for task in sorted(taking_part.union(*ready.values()) - (throughout - taking_part)):
        passed = {start, *(behind for _, behind in walk)}
        if any(t == task for t, _ in walk) or any(task not in ready[s] for s in passed):
            continue
        goals = {
            s for s in part if task not in ready[s] or task in {t for t, _ in inside[s]}
        }
        walk += _way(inside, state, goals)
        state = walk[-1][1] if walk else start
        if task in ready[state]:
            walk.append(next(s for s in inside[state] if s[0] == task))
            state = walk[-1][1]
    if not walk:
        walk.append(inside[start][0])
    walk += _way(inside, walk[-1][1], {start})
    return Loop(
        tuple(task for task, _ in before),
        tuple(task for task, _ in walk),
        tuple(sorted(throughout - taking_part)),
        tuple(sorted(set().union(*ready.values()) - taking_part)),
    )


def _way(
    steps: list[Steps] | dict[int, Steps], start: int, goals: Collection[int]
) -> Steps:
    """The shortest way from a state to one of ``goals``."""
    came: dict[int, tuple[int, int]] = {start: (start, -1)}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        if state in goals:
            break
        for task, behind in steps[state]:
            if behind != FAILED and behind not in came:
                came[behind] = state, task
                queue.append(behind)
    way: Steps = []
    while state != start:
        before, task = came[state]
        way.append((task, state))
        state = before
    return way[::-1]


async def starvation(program: Program, pool: TaskPool, budget: int) -> Finding | None:
    """Who has no turn for ever although everybody who can go on goes on in turn.

    Args:
        program: It should end.
        pool: Where it is run, once.
        budget: Steps after which it is stopped; who has made none in the second half of
            them, and has not ended, starves.
    """
    scheduler, _ = program.build(partial(ControlledScheduler, RoundRobin()))
    scheduler.budget = budget
    scheduler.keep_record()
    report = await pool.run(scheduler)
    if report.ending is not Ending.BUDGET:
        return None
    moving = {scheduler.tasks[index].name for index in scheduler.order()[budget // 2 :]}
    starving = [stuck for stuck in report.stuck if stuck.task not in moving]
    if not starving:
        return None
    seen = f"no step in {budget - budget // 2:,}: " + "; ".join(map(str, starving))
    return Finding("starvation", seen, "whoever waits has a turn some time")
