"""Every state of the deleting protocol is visited, and what breaks it is found."""

from __future__ import annotations

import pytest

from scenarios.explorer.delete_under_srcu import DeleteUnderSrcu
from scenarios.explorer.program import Program
from scenarios.explorer.states import StateSearch
from tests.scenarios.explorer.broken_deletes import BROKEN, BrokenDelete
from tests.scenarios.explorer.searching import replay, search

CHANGED = "SetChanged: a set changed while in use"
FREED = "UseAfterFree: a reader uses a slot that was freed"
KEPT = "TranslationKept: a translation of a freed slot is kept"

slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("readers", "states", "orders"),
    [
        (1, 204, 3_508),
        (2, 1_674, 282_721_164),
        pytest.param(3, 10_123, 243_560_657_849_952, marks=slow),
        pytest.param(4, 50_091, 1_287_737_183_181_690_591_744, marks=slow),
    ],
)
async def test_size_of_the_protocol_with_readers_that_are_interchangeable(
    readers: int, states: int, orders: int
) -> None:
    done = await search(DeleteUnderSrcu(readers))
    assert not done.found
    assert len(done.states) == states
    assert done.graph.interleavings() == orders


@pytest.mark.parametrize(
    ("readers", "states", "orders"),
    [
        (1, 204, 3_508),
        pytest.param(2, 3_144, 282_721_164, marks=slow),
        pytest.param(3, 50_898, 243_560_657_849_952, marks=slow),
    ],
)
async def test_size_of_the_protocol_with_each_reader_by_himself(
    readers: int, states: int, orders: int
) -> None:
    done = await search(DeleteUnderSrcu(readers), symmetric=False)
    assert not done.found
    assert len(done.states) == states
    assert done.graph.interleavings() == orders


@pytest.mark.parametrize(
    "readers", [1, 2, pytest.param(3, marks=slow)], ids="readers={}".format
)
@pytest.mark.parametrize(
    ("broken", "seen"),
    [
        ("NO_SYNC1", {CHANGED, KEPT}),
        ("NO_SYNC2", {CHANGED, FREED}),
        ("FREE_EARLY", {FREED}),
        ("ONE_FLIP", {CHANGED, FREED}),
    ],
)
async def test_what_breaks_without_a_step(
    broken: str, seen: set[str], readers: int
) -> None:
    done = await search(BrokenDelete(BROKEN[broken], readers))
    assert {finding.seen for finding, _ in done.found} == seen


async def test_search_goes_on_where_it_was_stopped() -> None:
    whole = await search(DeleteUnderSrcu(2))
    in_small_bites = await search(DeleteUnderSrcu(2), budget=7)
    assert facts(in_small_bites) == facts(whole)


async def test_every_order_found_shows_its_finding_again() -> None:
    program: Program = BrokenDelete(BROKEN["ONE_FLIP"], 1)
    done = await search(program)
    for finding, order in done.found:
        assert await replay(program, order) == finding


def facts(done: StateSearch) -> object:
    return (
        list(done.states),
        done.found,
        done.graph.interleavings(),
    )
