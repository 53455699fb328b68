"""What a search means to try: sequences of steps, kept as a tree of branches.

Source: see `scenarios.explorer.dpor`.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from scenarios.explorer.happens_before import Event, Places, Run, Step, Told, bits, tell


class Sequence:
    """Steps of a run and then one more, to be made where other steps were made.

    Args:
        run: Whose steps.
        places: Which of them.
        last: The step more.
    """

    def __init__(self, run: Run, places: Places, last: Event) -> None:
        self._run = run
        self._places = places
        self._last: Event | None = last
        self._past = run.past_of(last.before)
        for rival in bits(run.rivals(last.access) & places & ~self._past):
            self._past |= run.events[rival].past

    def may_begin_with(self, step: Step) -> bool:
        """Whether it is the same as a sequence that does, or goes on as one."""
        task, access = step
        places, last = self._places, self._last
        own = self._run.by(task) & places
        if own:
            first = own & -own
            past = self._run.events[first.bit_length() - 1].past
            return past & places == first
        if last is None:
            return not self._run.rivals(access) & places
        if last.task == task:
            return not self._past & places
        return not (self._run.rivals(access) & places or access.depends_on(last.access))

    def leave_out(self, task: int) -> None:
        """Forget the first step of a task, if there is one."""
        own = self._run.by(task) & self._places
        if own:
            self._places &= ~(own & -own)
        elif self._last is not None and self._last.task == task:
            self._last = None

    def steps(self) -> list[Step]:
        """What it consists of, the first step last."""
        events = [self._run.events[place] for place in bits(self._places)]
        if self._last is not None:
            events.append(self._last)
        return [event.step for event in reversed(events)]


@attrs.define(eq=False)
class Branch:
    """Steps to be made, and what is to come then.

    Attributes:
        steps: The first one last.
        branches: How to go on, the first one first; if there is none, anyhow.
    """

    steps: list[Step]
    branches: list[Branch]


def graft(branches: list[Branch], sequence: Sequence) -> None:
    """Add a branch for a sequence unless some branch leads there already."""
    while True:
        for branch in branches:
            if sequence.may_begin_with(branch.steps[-1]):
                break
        else:
            branches.append(Branch(sequence.steps(), []))
            return
        for place in range(len(branch.steps) - 1, -1, -1):
            if not sequence.may_begin_with(branch.steps[place]):
                rest = Branch(branch.steps[: place + 1], branch.branches)
                branch.steps = branch.steps[place + 1 :]
                branch.branches = [rest, Branch(sequence.steps(), [])]
                return
            sequence.leave_out(branch.steps[place][0])
        if not branch.branches:
            return
        branches = branch.branches


def flat(branches: list[Branch]) -> list[tuple[list[Told], int]]:
    """The steps of each branch, and how many branches it has; they come next."""
    told: list[tuple[list[Told], int]] = []
    todo = branches[::-1]
    while todo:
        branch = todo.pop()
        told.append(([*map(tell, branch.steps)], len(branch.branches)))
        todo += branch.branches[::-1]
    return told


def grown(
    told: list[tuple[list[Told], int]], step: Callable[[Told], Step]
) -> list[Branch]:
    """The branches that were told."""
    trees: list[Branch] = []  # the next one last
    for steps, count in reversed(told):
        branches = [trees.pop() for _ in range(count)]
        trees.append(Branch([*map(step, steps)], branches))
    return trees[::-1]
