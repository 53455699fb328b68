"""Tries mutants and their twins.

A mutant is *killed* if the shortest order that shows anything is noticed by the checker
that it names. Its twin is the protocol as it is, in the same scenario; it must hold.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

import attrs

from scenarios.errors import InputError
from scenarios.explorer.exploration import BOUNDED, EXHAUSTIVE, Answer, Question, Shown
from scenarios.explorer.explore import explore
from scenarios.explorer.machine_program import MachineProgram
from scenarios.mutants.mutant import Mutant
from scenarios.mutants.registry import Registered
from scenarios.plan import Plan
from scenarios.planner import plan_for

Fate = Literal["killed", "survived", "misjudged"]

MOST_STEPS = 800_000
"""Steps after which a twin is tried as its mutants are, no longer in every order."""


@attrs.frozen(kw_only=True)
class Tried:
    """What came of a mutant.

    Attributes:
        id: Its id.
        fate: ``misjudged`` if another checker noticed, or another number of
            preemptions shows it than is stated.
        strategy: By which it was searched.
        killed_by: Who noticed; empty if nobody did.
        seen: What was seen.
        orders: How many orders were tried.
        preemptions, switches, steps: Of the shortest that shows it.
        minimal: Whether no shorter one does.
        order: That one, as task indexes.
        bound: How far was searched, in words.
        seconds: How long it took.
    """

    id: str
    fate: Fate
    strategy: str
    killed_by: str = ""
    seen: str = ""
    orders: int
    preemptions: int | None = None
    switches: int | None = None
    steps: int | None = None
    minimal: bool = False
    order: tuple[int, ...] = ()
    bound: str
    seconds: float


@attrs.frozen(kw_only=True)
class Twin:
    """The protocol as it is, in the scenario of some mutants.

    Attributes:
        scenario: Its name.
        preemptions: The most that one of them needs; None if none has few.
        seeds: Those that one of them needs.
    """

    scenario: str
    preemptions: int | None = None
    seeds: range | None = None


@attrs.frozen(kw_only=True)
class TwinTried:
    """What came of a twin.

    Attributes:
        scenario: Its name.
        holds: Whether it does.
        seen: What was seen if it does not.
        bound: How far was searched, in words.
        orders: How many orders were tried.
        seconds: How long it took.
    """

    scenario: str
    holds: bool
    seen: str
    bound: str
    orders: int
    seconds: float


def plan_of(registered: Registered, scenario: str = "") -> Plan:
    """The run of a mutant.

    Args:
        registered: The mutant.
        scenario: Another one than it names.

    Raises:
        InputError: There is no such scenario.
    """
    mutant = registered.mutant
    return attrs.evolve(
        plan_for(scenario or mutant.scenario),
        parts=mutant.parts,
        mutant=registered.name,
    )


def program_of(
    registered: Registered, *, scenario: str = "", without: Collection[str] = ()
) -> MachineProgram:
    """What is searched.

    Args:
        registered: The mutant.
        scenario: Another one than it names.
        without: Checkers that do not look.
    """
    return MachineProgram(plan_of(registered, scenario), without=without)


def try_mutant(registered: Registered, without: Collection[str] = ()) -> Tried:
    """Search for the shortest order that shows a mutant.

    Args:
        registered: The mutant.
        without: Checkers that do not look.

    Raises:
        InputError: It raises what is no finding.
    """
    mutant = registered.mutant
    began = time.perf_counter()
    question = _question(mutant)
    try:
        answer = explore(program_of(registered, without=without), question)
    except InputError:
        raise
    except Exception as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        raise InputError(
            f"mutant {registered.name}: raises {type(error).__name__}: {error} (in"
            f" {Path(last.filename).name}, line {last.lineno})"
        ) from error
    shown = min(answer.shown, key=_length, default=None)
    seconds = time.perf_counter() - began
    if shown is None:
        return Tried(
            id=mutant.id,
            fate="survived",
            strategy=question.strategy,
            orders=answer.executions,
            bound=answer.bound,
            seconds=seconds,
        )
    is_as_stated = shown.finding.checker == mutant.checker and (
        mutant.preemptions is None or shown.preemptions == mutant.preemptions
    )
    return Tried(
        id=mutant.id,
        fate="killed" if is_as_stated or without else "misjudged",
        strategy=question.strategy,
        killed_by=shown.finding.checker,
        seen=shown.finding.seen,
        orders=answer.executions,
        preemptions=shown.preemptions,
        switches=shown.blocks - 1,
        steps=len(shown.order),
        minimal=shown.quality == "minimal",
        order=shown.order,
        bound=answer.bound,
        seconds=seconds,
    )


def _question(mutant: Mutant) -> Question:
    if mutant.preemptions is None:
        return Question(seeds=mutant.seeds)
    return Question(
        strategy=BOUNDED, preemptions=mutant.preemptions, fewest="preemptions"
    )


def _length(shown: Shown) -> tuple[int, int]:
    return shown.preemptions, len(shown.order)


def twins_of(mutants: Iterable[Mutant]) -> list[Twin]:
    """The twins of mutants, one for each scenario."""
    twins: dict[str, Twin] = {}
    for mutant in mutants:
        twin = twins.get(mutant.scenario, Twin(scenario=mutant.scenario))
        if mutant.preemptions is None:
            last = max(mutant.seeds.stop, twin.seeds.stop if twin.seeds else 0)
            twin = attrs.evolve(twin, seeds=range(last))
        else:
            most = max(mutant.preemptions, twin.preemptions or 0)
            twin = attrs.evolve(twin, preemptions=most)
        twins[mutant.scenario] = twin
    return list(twins.values())


def try_twin(twin: Twin) -> TwinTried:
    """Try the protocol as it is: in every order if they are few enough."""
    began = time.perf_counter()
    program = MachineProgram(plan_for(twin.scenario))
    answers = _answers(twin, program)
    broken = [one.finding for answer in answers for one in answer.shown]
    holds = not broken and all(answer.verdict == "holds" for answer in answers)
    return TwinTried(
        scenario=twin.scenario,
        holds=holds,
        seen=f"{broken[0].checker}: {broken[0].seen}" if broken else "",
        bound="; ".join(answer.bound for answer in answers),
        orders=sum(answer.executions for answer in answers),
        seconds=time.perf_counter() - began,
    )


def _answers(twin: Twin, program: MachineProgram) -> list[Answer]:
    if twin.preemptions is not None:
        answer = explore(program, Question(strategy=EXHAUSTIVE, max_steps=MOST_STEPS))
        if answer.verdict != "inconclusive":
            return [answer]
    questions = []
    if twin.preemptions is not None:
        questions.append(Question(strategy=BOUNDED, preemptions=twin.preemptions))
    if twin.seeds is not None:
        questions.append(Question(seeds=twin.seeds))
    return [explore(program, question) for question in questions]
