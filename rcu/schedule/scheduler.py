"""What the model sees of a scheduler, whichever it is.

Rules for everything that runs in a task:

1. Just before each shared access stands a point that names it; nothing else awaits.
2. Shared state changes only in a step whose operation says so.
3. A condition passed as ``until`` is pure and reads only what the operation names.
4. Before its first point a body touches nothing shared.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence

from rcu.errors import SimulatorBug, SleepInAtomic
from rcu.operation import START, Operation
from rcu.schedule.report import Ending, Report, Stuck
from rcu.schedule.task import Body, Condition, Task
from rcu.trace import Event, Record, Trace


class Abandoned(BaseException):
    """Thrown into a body that is not run to its end; bodies let it pass."""


class Scheduler(ABC):
    """The tasks of one run, and the one among them that runs.

    Args:
        trace: Where events go; by default nowhere.
        cpus: Number of processors; tasks are spread over them in turn.
        budget: Steps after which the run is stopped.

    Attributes:
        current: The task that runs; outside any task a stand-in with index -1.
        steps: Number of the step being made; 0 before the first.
        record: Task and operation of each step, alternating; None unless asked for.
        tracing: Whether anybody reads the trace; ask before building an event.
    """

    def __init__(
        self, trace: Trace | None = None, *, cpus: int = 2, budget: int = 10_000_000
    ) -> None:
        if cpus < 1:
            raise ValueError(f"cpus must be at least 1, got {cpus}")
        self.trace = trace or Trace()
        self.tracing = self.trace.on
        self.cpus = cpus
        self.budget = budget
        self.nobody = Task("setup", -1, _nothing)
        self.current = self.nobody
        self.tasks: list[Task] = []
        self.steps = 0
        self.record: list[Task | Operation] | None = None
        self.abandoning = False
        self._error: BaseException | None = None
        self._failed: Task | None = None
        self._ending: Ending | None = None
        self._last_step = 0
        self._stuck: tuple[Stuck, ...] = ()

    def task(
        self,
        name: str,
        body: Body,
        *,
        cpu: int | None = None,
        daemon: bool = False,
    ) -> Task:
        """Add a task before the run starts.

        Args:
            name: How reports and the log call it; unique in the run.
            body: What it does.
            cpu: Its processor; by default the next in turn.
            daemon: Whether the run may end while it waits.

        Raises:
            ValueError: The name is taken or the processor does not exist.
        """
        if any(task.name == name for task in self.tasks):
            raise ValueError(f"there is a task named {name!r} already")
        index = len(self.tasks)
        place = index % self.cpus if cpu is None else cpu
        if not 0 <= place < self.cpus:
            raise ValueError(f"cpu must be in 0..{self.cpus - 1}, got {place}")
        task = Task(name, index, body, cpu=place, daemon=daemon)
        self.tasks.append(task)
        return task

    @abstractmethod
    def point(self, op: Operation, until: Condition | None = None) -> Awaitable[None]:
        """Let others run before the current task's next shared access.

        Args:
            op: What the access does; it happens when the await returns.
            until: What must hold before it may happen.

        Cost: 0.1 µs if the strategy stays with the task, one switch if not.
        """

    def emit(self, event: Event) -> None:
        """Record an event of the current step."""
        self.trace.append(Record(self.steps, self.current.name, event))

    def assert_may_sleep(self, what: str) -> None:
        """Refuse to wait for ``what`` while the task holds a spin lock.

        Raises:
            SleepInAtomic: It does.
        """
        for lock in self.current.locks:
            if lock.spins:
                raise SleepInAtomic(
                    f"{self.current.name} may sleep in {what} while it holds"
                    f" the spin lock {lock.name}"
                )

    def keep_record(self) -> None:
        """Keep who made each step, from now on and in later runs."""
        self.record = []

    def order(self) -> tuple[int, ...]:
        """Who made each step, as task indexes: the schedule that replays the run.

        Raises:
            ValueError: The run was made without `keep_record`.
        """
        if self.record is None:
            raise ValueError("no record was kept of this run")
        return tuple(task.index for task in self.record[::2] if isinstance(task, Task))

    def reset(self) -> None:
        """Forget the run, keep the tasks: they can be run from their start again."""
        self.current = self.nobody
        self.steps = 0
        if self.record is not None:
            self.record.clear()
        self.abandoning = False
        self._error = self._failed = self._ending = None
        for task in self.tasks:
            task.cpu = task.home
            task.op = START
            task.until = None
            task.finished = False
            task.sections.clear()
            task.locks.clear()

    def _body_failed(self, task: Task, error: BaseException) -> None:
        """Keep the error that ended the run; what unwinding raises is none."""
        if self._ending is None or not isinstance(error, Exception):
            self._error = error
            self._failed = task
            self._note_ending(Ending.FAILED)

    def _note_ending(self, ending: Ending, circle: Sequence[Task] = ()) -> None:
        """Note how and where the run ends, before its bodies are unwound."""
        self._ending = ending
        self._last_step = self.steps
        self._stuck = ()
        if ending is Ending.DEADLOCK or ending is Ending.BUDGET:
            left = [task for task in self.tasks if not (task.finished or task.daemon)]
            self._stuck = tuple(Stuck.of(task, self.tasks) for task in circle or left)

    def _circle(self) -> list[Task]:
        """Tasks that wait for each other, though others may run on for ever."""
        waiting = [task for task in self.tasks if task.until and not task.until()]
        for start in waiting:
            path = _path_to_itself(start, waiting)
            if path:
                return path
        return []

    def _report(self) -> Report:
        error = self._error
        if error is not None and (
            self._failed is None
            or isinstance(error, SimulatorBug)
            or not isinstance(error, Exception)
        ):
            raise error
        return Report(
            ending=self._ending or Ending.COMPLETED,
            steps=self._last_step,
            stuck=self._stuck,
            failed=self._failed.name if self._failed else None,
            error=error,
        )


def _path_to_itself(start: Task, waiting: list[Task]) -> list[Task]:
    """How ``start`` needs itself by way of others that wait; empty if it does not."""
    paths = [[start]]
    seen: list[Task] = []
    for path in paths:
        needs = path[-1].op.needs
        needed = [] if needs is None else list(needs())
        if start in needed:
            return path
        for task in waiting:
            if task in needed and task not in seen:
                seen.append(task)
                paths.append([*path, task])
    return []


async def _nothing() -> None:
    raise RuntimeError("the stand-in for nobody has no body")
