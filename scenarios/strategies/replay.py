"""As it was before."""

from __future__ import annotations

from collections.abc import Sequence

from rcu.schedule.task import Task


class ReplayDivergedError(Exception):
    """The recorded order asks for a step that cannot be made.

    Attributes:
        step: Number of the step, from 1.
        would: What its task would do, if that is another operation.
    """

    def __init__(self, step: int, text: str, would: str = "") -> None:
        super().__init__(text)
        self.step = step
        self.would = would


class Replay:
    """Follows a recorded order.

    Args:
        order: Index of the task that made each step.
        does: What each step did, in words, or None where that is not known; by default
            of no step.
        whole: Whether the run was over behind the last step.

    Raises:
        ReplayDivergedError: From `pick`: the task of the order is not ready, its step
            is another one, or the order is used up although tasks are ready.
    """

    name = "replay"
    patience = 0

    def __init__(
        self,
        order: Sequence[int],
        does: Sequence[str | None] = (),
        *,
        whole: bool = True,
    ) -> None:
        self.whole = whole
        self._order = order
        self._does = does
        self._step = 0
        self._tasks: list[Task] = []

    @property
    def length(self) -> int:
        """How many steps there are."""
        return len(self._order)

    def assert_used_up(self) -> None:
        """Refuse a run that ended before its order did.

        Raises:
            ReplayDivergedError: Steps of the order are left.
        """
        if self._step < len(self._order):
            raise ReplayDivergedError(
                self._step + 1,
                f"the run ended after {self._step} steps, but the schedule has"
                f" {len(self._order)}",
            )

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""
        self._tasks = tasks
        self._step = 0

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        step = self._step
        self._step += 1
        can_go = ", ".join(task.name for task in ready)
        if step >= len(self._order):
            raise ReplayDivergedError(
                step + 1,
                f"the schedule ends after {step} steps, but {can_go} can go on",
            )
        index = self._order[step]
        if not 0 <= index < len(self._tasks):
            raise ReplayDivergedError(
                step + 1,
                f"step {step + 1} is made by task number {index}, but the run has"
                f" {len(self._tasks)} tasks",
            )
        task = self._tasks[index]
        expected = self._does[step] if step < len(self._does) else None
        if expected is not None and expected != str(task.op):
            raise ReplayDivergedError(
                step + 1,
                f"in step {step + 1} {task.name} did '{expected}', and would"
                f" '{task.op}' now",
                str(task.op),
            )
        if task not in ready:
            raise ReplayDivergedError(
                step + 1,
                f"step {step + 1} is made by {task.name}, which cannot {task.op} now;"
                f" {can_go} can go on",
            )
        return task
