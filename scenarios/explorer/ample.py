"""Only those tasks are tried that the others can do nothing about.

Of the tasks that stand before a step, some are chosen so that nothing that the others
may ever do depends on what the chosen do next: it is all the same whether the others go
on before or after. So the others need not be tried here. (A persistent set.)

What a task may ever do is learnt: which step it was seen to make after which. A task
that waits for what nobody can bring about any more does nothing. When something is seen
that was believed not to happen, what was searched so far may have left out something,
and the search begins again, knowing better. That is enough: a run that shows the belief
wrong is, up to that step, one that the belief has not changed, so the search meets it.

Source: P. Godefroid, Partial-Order Methods for the Verification of Concurrent Systems,
1996, chapter 4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rcu.schedule.task import Task
from scenarios.explorer.footprints import NOWHERE, Footprint, Footprints

Stand = tuple[int, Footprint]
"""Where a task stands: its index, and what the operation touches that comes next."""


class Futures:
    """What the tasks may ever do, as far as is known.

    Args:
        tasks: The tasks.
        footprints: What operations touch.
        kin: For each task, by index, the mask of those that may stand for each other.

    Attributes:
        wrong: Whether something has happened that was believed not to happen.
    """

    def __init__(
        self, tasks: Sequence[Task], footprints: Footprints, kin: Sequence[int]
    ) -> None:
        self.wrong = False
        self._tasks = tasks
        self._footprints = footprints
        self._kin = kin
        self._touches: dict[Stand, Footprint] = {}
        self._next: defaultdict[Stand, set[Stand]] = defaultdict(set)
        self._relied: defaultdict[Stand, set[Stand]] = defaultdict(set)
        self._futures: dict[Stand, Footprint] = {}
        self._meetings: dict[tuple[Stand, Stand], bool] = {}
        self._chosen: dict[
            tuple[tuple[int, ...], tuple[Stand, ...]], tuple[int, ...]
        ] = {}

    def begin_again(self) -> None:
        """Believe what has been learnt."""
        self.wrong = False
        self._relied.clear()
        self._chosen.clear()

    def stand(self, task: Task) -> Stand:
        """Where a task stands."""
        return task.index, self._footprints.of(task.op)

    def note(self, before: Stand, made: Footprint, task: Task) -> None:
        """A task has made a step.

        Args:
            before: Where it stood.
            made: What the step has touched.
            task: Who.
        """
        known = self._touches.get(before)
        all_ = made if known is None else known.and_(made)
        behind = None if task.finished else self.stand(task)
        if all_ == known and (behind is None or behind in self._next[before]):
            return
        for index in range(len(self._tasks)):
            if self._kin[task.index] >> index & 1:
                self._touches[index, before[1]] = all_
                if behind is not None:
                    self._next[index, before[1]].add((index, behind[1]))
        self._futures.clear()
        self._meetings.clear()
        self._chosen.clear()
        self.wrong = self.wrong or any(
            self._meet(other, step)
            for other, steps in self._relied.items()
            for step in steps
        )

    def _future(self, stand: Stand) -> Footprint:
        """What a task may touch from here on."""
        future = self._futures.get(stand)
        if future is None:
            seen = {stand}
            todo = [stand]
            future = NOWHERE
            for each in todo:
                future = future.and_(self._touches.get(each, each[1]))
                new = self._next[each] - seen if each in self._next else ()
                seen.update(new)
                todo += new
            self._futures[stand] = future
        return future

    def _meet(self, other: Stand, step: Stand) -> bool:
        """Whether a task may ever do something on which a step of another depends."""
        key = other, step
        meet = self._meetings.get(key)
        if meet is None:
            touched = self._touches.get(step)
            meet = touched is None or self._future(other).meets(touched)
            self._meetings[key] = meet
        return meet

    def choose(self, ready: list[Task]) -> list[Task]:
        """The tasks that are to be tried, of those that can go on."""
        if len(ready) < 2:
            return ready
        stands = {t.index: self.stand(t) for t in self._tasks if not t.finished}
        indexes = tuple([task.index for task in ready])
        key = indexes, tuple(stands.values())
        chosen = self._chosen.get(key)
        if chosen is None:
            chosen = self._chosen[key] = self._choose(stands, indexes)
        return [self._tasks[index] for index in chosen]

    def _choose(
        self, stands: dict[int, Stand], ready: tuple[int, ...]
    ) -> tuple[int, ...]:
        live = self._live(stands, ready)
        chosen, cluster = ready, live
        for first in ready:
            other = self._cluster(stands, live, first)
            tried = tuple(index for index in ready if index in other)
            if len(tried) < len(chosen):
                chosen, cluster = tried, other
        steps = [stands[member] for member in cluster]
        for other_index in live:
            if other_index not in cluster:
                self._relied[stands[other_index]].update(steps)
        return chosen

    def _live(self, stands: dict[int, Stand], ready: tuple[int, ...]) -> list[int]:
        """The tasks that may ever go on."""
        live = [*ready]
        for one in live:
            live += [
                other
                for other, stand in stands.items()
                if other not in live and self._meet(stands[one], stand)
            ]
        for other, stand in stands.items():
            if other not in live:
                for one in live:
                    self._relied[stands[one]].add(stand)
        return live

    def _cluster(
        self, stands: dict[int, Stand], live: list[int], first: int
    ) -> list[int]:
        """A task, those on whom its step depends, those on whom theirs depend..."""
        cluster = [first]
        for member in cluster:
            cluster += [
                other
                for other in live
                if other not in cluster and self._meet(stands[other], stands[member])
            ]
        return cluster
