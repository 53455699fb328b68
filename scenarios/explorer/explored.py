"""A test whose tasks are run in many orders: what it is asked, and what it says."""

from __future__ import annotations

import inspect
import os
import shlex
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import pytest
import trio
from trio import TrioInternalError

from scenarios.explorer.blocks import read_order, tell_blocks, write_order
from scenarios.explorer.declared import DeclarationError, DeclaredProgram, Explore
from scenarios.explorer.marker import BOUNDED, EXHAUSTIVE, Options, OptionsError
from scenarios.explorer.repeats import NotDeterministicError, Run
from scenarios.explorer.trial import (
    REPLAY,
    NotExhaustedError,
    Result,
    replay,
    search,
)
from scenarios.strategies.replay import ReplayDivergedError

_NOT_DETERMINISTIC = """\
the test is not deterministic: {}.
Whenever its body is called and its tasks are run in the same order, they must do the
same: no clock, no random numbers, no loop over a set, nothing kept from run to run."""

_DIVERGED = """\
--explore-replay: {}.
The order is of another test or of another version of it; or the test loops over a set,
and PYTHONHASHSEED was another."""

_MAY_AWAIT = """\
A task awaits points of its scheduler and what is built on them, like the locks of rcu.
Nurseries, cancel scopes and whatever else waits in Trio are not for it."""

_KINDS = {
    EXHAUSTIVE: "exhausted",
    BOUNDED: "exhausted within a bound",
    REPLAY: "replayed",
}

_OURS = tuple(str(Path(__file__).parents[2] / room) for room in ("rcu", "scenarios"))
_TRIO = str(Path(trio.__file__).parent)


def told_in_full(excinfo: pytest.ExceptionInfo[BaseException] | None) -> bool:
    """Whether a failure shows the frames of the test, and none of ours."""
    error = None if excinfo is None else excinfo.value
    return not isinstance(error, pytest.fail.Exception) or error.pytrace


__tracebackhide__ = told_in_full


def explore(
    item: pytest.Function, body: Callable[..., object], explored: dict[str, Any]
) -> None:
    """Run the tasks that a test declares in the orders that it asks for.

    Args:
        item: The test.
        body: Its function.
        explored: Is told what was done: ``words``, ``kind``, ``runs``, ``states``.

    Raises:
        pytest.fail.Exception: An order breaks something, or there is no test.
        BaseException: A task or the body raised it.
    """
    try:
        result = _result(item, body)
    except NotDeterministicError as error:
        _stop(explored, _NOT_DETERMINISTIC.format(error))
    except ReplayDivergedError as error:
        _stop(explored, _DIVERGED.format(error))
    except (OptionsError, DeclarationError, NotExhaustedError) as error:
        _stop(explored, f"explore: {error}")
    except TrioInternalError:
        _stop(explored, f"explore: a task breaks Trio.\n{_MAY_AWAIT}")
    except Exception as error:
        error.__traceback__ = _of_the_test(error.__traceback__)
        raise
    explored |= _told(result)
    if result.broken is not None:
        _raise(result, result.broken, item.nodeid)


def _stop(explored: dict[str, Any], text: str) -> NoReturn:
    words = text.partition("\n")[0]
    explored |= {"words": words, "kind": "stopped", "runs": 0, "states": 0}
    _fail(text)


def _fail(text: str) -> NoReturn:
    raise pytest.fail.Exception(text, pytrace=False) from None


def _result(item: pytest.Function, body: Callable[..., object]) -> Result:
    config = item.config
    overrides = {
        name: config.getoption(f"--explore-{name}") for name in ("schedules", "seed")
    }
    marker = item.get_closest_marker("explore")
    if marker is not None and marker.args:
        raise OptionsError(
            f"the options of the marker have names: strategy={marker.args[0]!r}"
        )
    options = Options.of({} if marker is None else marker.kwargs, overrides)
    arguments = _arguments(item, body)

    def declare(explore: Explore) -> object:
        return body(**arguments | {"explore": explore})

    program = DeclaredProgram(
        item.name, declare, cpus=options.cpus, budget=options.budget
    )
    order = config.getoption("--explore-replay")
    if order is not None:
        return replay(program, read_order(order))
    return search(program, options)


def _arguments(item: pytest.Function, body: Callable[..., object]) -> dict[str, Any]:
    arguments = {
        name: item.funcargs[name]
        for name in inspect.signature(body).parameters
        if name in item.funcargs
    }
    for name, value in arguments.items():
        if type(value).__name__ == "TrioFixture" or inspect.isawaitable(value):
            raise DeclarationError(
                f"the fixture {name} is asynchronous, and the body is called outside"
                " its loop; make what it gives in the body"
            )
    return arguments


def _told(result: Result) -> dict[str, Any]:
    """What the summary says, as plain values: it may come from another process."""
    words = result.words
    kind = _KINDS.get(result.strategy, "sampled")
    if result.broken is not None:
        kind = "broken"
        words = f"broken in {_length(result.broken)}, {result.quality}; {words}"
    return {
        "words": words,
        "kind": kind,
        "runs": result.runs,
        "states": result.states,
    }


def _length(run: Run) -> str:
    steps, preemptions = len(run.steps), run.preemptions
    return f"{_count(steps, 'step')}, {_count(preemptions, 'preemption')}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


_QUALITIES = {
    "minimal": "Shortest order (by preemptions, then steps)",
    "found": "Order, as it was found",
    "replayed": "Order, as it was given",
}


def _raise(result: Result, run: Run, nodeid: str) -> NoReturn:
    """Fail with the order that breaks something."""
    replay_with = f"--explore-replay {write_order(run.order)}"
    lines = [
        f"{_QUALITIES[result.quality]}: {_length(run)} (!)",
        *tell_blocks(run.steps),
        f"Replay: pytest {shlex.quote(nodeid)} {replay_with}",
        f"Searched: {result.words}",
    ]
    error = run.error
    if run.finding is None and error is not None:
        if _waits_for_trio(error):
            _fail("\n".join([_trio_text(error, run), *lines]))
        error.add_note("\n".join(lines))
        raise error.with_traceback(_of_the_test(error.__traceback__))
    _fail("\n".join([*_tell_finding(run), *lines]))


def _tell_finding(run: Run) -> Iterator[str]:
    finding, error = run.finding, run.error
    assert finding is not None
    yield f"{finding.checker}: {finding.seen}"
    if finding.why:
        yield f"The rule: {finding.why}."
    if error is not None:
        yield from _place(error)


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    return traceback.extract_tb(error.__traceback__)


def _place(error: BaseException) -> Iterator[str]:
    """Where in the test an error was raised, if it was there."""
    own = [each for each in _frames(error) if not each.filename.startswith(_OURS)]
    if own:
        yield _tell_frame(own[-1])


def _tell_frame(frame: traceback.FrameSummary) -> str:
    return f"{os.path.relpath(frame.filename)}:{frame.lineno}: {frame.line}"


def _waits_for_trio(error: BaseException) -> bool:
    """Whether a task was resumed from a wait that Trio should have ended."""
    last = _frames(error)[-1]
    kinds = AttributeError | RuntimeError
    return isinstance(error, kinds) and last.filename.startswith(_TRIO)


def _trio_text(error: BaseException, run: Run) -> str:
    frames = _frames(error)
    number = next(i for i, f in enumerate(frames) if f.filename.startswith(_TRIO))
    caller, called = frames[number - 1 : number + 1]
    name = run.steps[-1].name if run.steps else "a task"
    return f"{name} calls {called.name} of Trio: {_tell_frame(caller)}\n{_MAY_AWAIT}"


def _of_the_test(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without what runs the task."""
    start = trace
    while start is not None:
        name = start.tb_frame.f_code.co_filename
        if not name.startswith((*_OURS, _TRIO)):
            return start
        start = start.tb_next
    return trace
