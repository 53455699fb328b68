"""The program that a test declares: its body is called anew for each build of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Task
from scenarios.explorer.program import Finding, Program, SchedulerT, Watch

AsyncFunction = Callable[..., Coroutine[Any, Any, None]]
Check = Callable[[], object]


class DeclarationError(Exception):
    """A test does not declare a program."""


class Explore:
    """What the fixture ``explore`` gives to the body of a test.

    Args:
        scheduler: Whose tasks the body declares.

    Attributes:
        scheduler: Made for this call of the body; shared objects are built on it.
        checks: What must hold when every task has ended, and what it means if not.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.checks: list[tuple[Check, str]] = []

    def task(
        self,
        name: str,
        body: AsyncFunction,
        *args: object,
        cpu: int | None = None,
        daemon: bool = False,
    ) -> Task:
        """Declare a task.

        Args:
            name: How findings call it; unique in the test.
            body: An async function: what the task does.
            args: What it is called with.
            cpu: Its processor; by default the next in turn.
            daemon: Whether the run may end while it waits.

        Raises:
            DeclarationError: ``body`` is no async function.
            ValueError: The name is taken or the processor does not exist.
        """
        if not _is_async(body):
            given: object = body
            if inspect.iscoroutine(given):
                given.close()
            raise DeclarationError(
                f"the body of task {name!r} must be an async function, got {body!r}"
            )
        bound = partial(body, *args) if args else body
        return self.scheduler.task(name, bound, cpu=cpu, daemon=daemon)

    def at_end(self, check: Check, text: str = "") -> None:
        """Declare what must hold when every task has ended.

        Args:
            check: Fails with an assertion, or returns something false that is not None.
            text: What it means that it does not hold.
        """
        self.checks.append((check, text))


def _is_async(body: object) -> bool:
    return inspect.iscoroutinefunction(body) or inspect.iscoroutinefunction(
        getattr(body, "__call__", None)  # noqa: B004 - asked what it is, not if it is
    )


class EndChecks(Watch):
    """Asks at the end of a run what the test has declared.

    Args:
        checks: What must hold, and what it means if not.
    """

    def __init__(self, checks: tuple[tuple[Check, str], ...]) -> None:
        super().__init__()
        self._checks = checks

    def at_end(self) -> Finding | None:
        """See `Watch.at_end`."""
        try:
            self.assert_all()
        except AssertionError as error:
            return Finding("at-end", str(error))
        return None

    def assert_all(self) -> None:
        """Ask everything.

        Raises:
            AssertionError: Something does not hold.
        """
        for check, text in self._checks:
            try:
                answer = check()
            except AssertionError as error:
                seen = str(error) or "an assertion failed"
                error.args = (f"{text}: {seen}" if text else seen,)
                raise
            if answer is not None and not answer:
                raise AssertionError(text or f"{_name_of(check)} returned {answer!r}")


def _name_of(check: Check) -> str:
    code = getattr(check, "__code__", None)
    return repr(check) if code is None else f"the check in line {code.co_firstlineno}"


class DeclaredProgram(Program):
    """What the body of a test declares.

    Args:
        name: Of the test.
        declare: Calls its body with what the fixture gives.
        cpus: Number of processors.
        budget: Steps after which a run is stopped.
    """

    def __init__(
        self, name: str, declare: Callable[[Explore], object], *, cpus: int, budget: int
    ) -> None:
        self.name = name
        self._declare = declare
        self._cpus = cpus
        self._budget = budget

    def build(self, make: Callable[..., SchedulerT]) -> tuple[SchedulerT, EndChecks]:
        """See `Program.build`.

        Raises:
            DeclarationError: There is no task, or the body waits.
            BaseException: The body raised it.
        """
        scheduler = make(cpus=self._cpus, budget=self._budget)
        explore = Explore(scheduler)
        returned = self._declare(explore)
        if inspect.iscoroutine(returned):
            _finish(returned)
        if all(task.daemon for task in scheduler.tasks):
            raise DeclarationError(
                "the test declares no task: call explore.task(name, async_function)"
            )
        return scheduler, EndChecks(tuple(explore.checks))


def _finish(body: Coroutine[Any, Any, object]) -> None:
    """Run an async body, which may not wait."""
    try:
        body.send(None)
    except StopIteration:
        return
    line = body.cr_frame.f_lineno  # type: ignore[attr-defined]
    body.close()
    raise DeclarationError(
        f"the body of the test waits in line {line}: it declares tasks, only they wait"
    )
