"""What limited an exploration, or what it has covered, in words."""

from __future__ import annotations

from scenarios.explorer.exploration import Question
from scenarios.explorer.works import Bounded, Samples, States, Traces, Work


def bound_of(
    question: Question,
    main: Work,
    *,
    exhausted: bool,
    ended_late: bool,
    interleavings: int | None,
    reason: str,
) -> str:
    """The bound of an answer.

    Args:
        question: What was asked.
        main: What was done for it.
        exhausted: Whether there is no order that was not covered.
        ended_late: Whether the limit of time was reached.
        interleavings: How many orders there are; None if not known.
        reason: Why states could not be told; empty if they could.
    """
    if isinstance(main, Samples):
        return _drawn(question, main)
    covered = _covered(main, interleavings, exhausted=exhausted)
    if reason:
        covered += f", as states cannot be told apart: {reason}"
    if exhausted:
        return covered
    why = ""
    if ended_late:
        why = f"ended after {question.time_limit:g} s"
    elif question.max_fail and len(main.found) >= question.max_fail:
        why = f"ended at {_count(question.max_fail, 'finding')}"
    elif question.max_steps is not None and main.steps >= question.max_steps:
        why = f"ended after {_count(main.steps, 'step')}"
    return f"{why}: {covered}" if why else covered


def _drawn(question: Question, main: Samples) -> str:
    seeds = question.seeds
    words = f"{_count(main.executions, 'order')} drawn by {question.strategy}"
    if main.seeds_done > seeds.start:
        words += f", seeds {seeds.start} to {main.seeds_done - 1}"
    if main.stopped:
        words += f"; {_count(main.stopped, 'run')} stopped at the budget of steps"
    return words


def _covered(main: Work, interleavings: int | None, *, exhausted: bool) -> str:
    if isinstance(main, States):
        states = _count(len(main.rounds.known.states), "state")
        words = f"{states} in {_count(main.executions, 'run')}"
        if not exhausted:
            return words
        if interleavings is not None:
            return f"{interleavings:,} orders: {words}"
        if main.rounds.kin:
            words += "; whether they all come to an end was not asked"
        return f"every order: {words}"
    if isinstance(main, Traces):
        words = f"{_count(main.executions, 'trace')}, each run once"
        return f"every order: {words}" if exhausted else words
    assert isinstance(main, Bounded)
    return _bounded(main, exhausted=exhausted)


def _bounded(main: Bounded, *, exhausted: bool) -> str:
    if exhausted:
        return f"every order; none has more than {_count(main.level, 'preemption')}"
    if main.done:
        return f"all orders with at most {_count(main.level, 'preemption')}"
    if not main.level:
        return "a part of the orders without a preemption"
    return (
        f"all orders with at most {_count(main.level - 1, 'preemption')}, and a part of"
        f" those with {main.level:,}"
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
