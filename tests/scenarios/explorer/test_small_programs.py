"""The search of states knows what brute force finds out, of any small program."""

from __future__ import annotations

from functools import partial

import attrs
import pytest
import trio
from hypothesis import example, given, settings

from scenarios.explorer import fingerprint
from scenarios.explorer.footprints import Footprint
from scenarios.explorer.frames import where
from scenarios.explorer.shortest import BoundedSearch
from tests.scenarios.explorer.searching import begun, search
from tests.scenarios.explorer.small_programs import (
    Action,
    BruteForce,
    SmallProgram,
    Tasks,
    Told,
    programs,
    told,
    up_to_kin,
)


@attrs.frozen
class Known:
    """What is known of a program."""

    findings: frozenset[Told]
    orders: int | None
    states: int


def searched(tasks: Tasks, *, symmetric: bool = False) -> Known:
    """What the search finds out."""
    done = trio.run(partial(search, SmallProgram(tasks), symmetric=symmetric))
    return Known(
        frozenset(told(finding) for finding, _ in done.found),
        done.graph.interleavings(),
        len(done.states),
    )


def known(tasks: Tasks) -> Known:
    """What there is to be found out."""
    truth = BruteForce(tasks)
    return Known(frozenset(truth.findings), truth.orders, len(truth.states))


def case(*tasks: str) -> Tasks:
    """A program as text: verbs with place and value, as in ``read0 store0+1``."""
    return [tuple(map(action, task.split())) for task in tasks]


def action(word: str) -> Action:
    verb = word.rstrip("0123456789+-=")
    place, _, value = word[len(verb) :].replace("=", "+").partition("+")
    return Action(verb, int(place or 0), int(value or 0))


LOST_UPDATE = case("read0 store0+1", "read0 store0+1", "until_zero1 forbid0=1")
CROSSED = case(
    "acquire0 acquire1 release1 release0", "acquire1 acquire0 release0 release1"
)
"""Each holds what the other needs."""

SEEN_TWICE = case("read0 check0", "write1=1 write0=1", "forbid1=1")
NEVER = case("until_done", "read0 store0+1")
SPIN = case("spin0", "write1=1 write0=1")
TURN = case("spin0 write1=1 write0=0", "write0=1 spin1 write1=0")

thorough = settings(deadline=None, derandomize=True, max_examples=50)


@pytest.mark.slow
@thorough
@example(LOST_UPDATE)
@example(CROSSED)
@example(SEEN_TWICE)
@example(NEVER)
@given(programs(9))
def test_states_orders_and_findings_are_those_of_brute_force(tasks: Tasks) -> None:
    assert searched(tasks) == known(tasks)


@pytest.mark.slow
@thorough
@example(LOST_UPDATE)
@given(programs(9, mutexes=False))
def test_tasks_that_do_the_same_may_stand_for_each_other(tasks: Tasks) -> None:
    truth = known(tasks)
    states = up_to_kin(BruteForce(tasks).states, tasks)
    assert searched(tasks, symmetric=True) == attrs.evolve(truth, states=states)


async def shortest(tasks: Tasks) -> tuple[int, int] | None:
    """Preemptions and steps of the shortest order that shows a finding."""
    async with begun(SmallProgram(tasks)) as instance:
        bounded = BoundedSearch(instance)
        bounded.begin()
        while bounded.advance(1_000):
            pass
        return None if bounded.found is None else bounded.found.length


@pytest.mark.slow
@thorough
@example(LOST_UPDATE)
@example(CROSSED)
@example(SEEN_TWICE)
@example(NEVER)
@given(programs(9))
def test_no_order_that_shows_a_finding_is_shorter(tasks: Tasks) -> None:
    minima = BruteForce(tasks).minima.values()
    assert trio.run(shortest, tasks) == min(minima, default=None)


@pytest.mark.slow
@thorough
@example(SPIN)
@example(TURN)
@given(programs(7, spins=True))
def test_programs_that_poll_have_no_end_of_orders(tasks: Tasks) -> None:
    assert searched(tasks) == known(tasks)


TWO_LOCALS = case("read0 check1", "write0=1 write0=0")
"""Whether the check holds depends on the local only."""

RACE = case("write0=1 read0 forbid0=1", "write0=0")


def test_a_sleeper_that_never_wakes_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth = known(RACE)
    assert searched(RACE) == truth
    monkeypatch.setattr(Footprint, "meets", lambda *_: False)
    done = trio.run(search, SmallProgram(RACE))
    assert len(done.states) < truth.states


def test_forgotten_locals_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = known(TWO_LOCALS)
    assert searched(TWO_LOCALS) == truth
    monkeypatch.setattr(fingerprint, "where", lambda task, _: where(task, lambda _: []))
    assert searched(TWO_LOCALS) != truth


KIN_AND_MUTEX = case("add0=1 add0=1", "add0=1 add0=1", "acquire0 release0")


def test_tasks_that_stand_for_each_other_beside_one_that_is_named() -> None:
    """A mutex names its owner, which is none of the kin."""
    done = searched(KIN_AND_MUTEX, symmetric=True)
    assert done.orders == known(KIN_AND_MUTEX).orders
