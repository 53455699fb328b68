"""Tasks that never run, for a strategy to choose from."""

from __future__ import annotations

from rcu.operation import START, Operation
from rcu.schedule.task import Task


async def never() -> None:
    raise AssertionError("nobody runs here")


def idle_tasks(count: int) -> list[Task]:
    return [Task(f"t{index}", index, never) for index in range(count)]


def pending(*operations: Operation) -> list[Task]:
    """A task for each operation, which is its next step."""
    tasks = idle_tasks(len(operations))
    for task, op in zip(tasks, operations, strict=True):
        assert task.op is START
        task.op = op
    return tasks
