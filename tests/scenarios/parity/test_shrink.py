"""From many calls to the few that matter, on sides that are made up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from memslots.update import Update
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from scenarios.parity import parity as parity_module
from scenarios.parity.calls import DONE, Answer, Call, EnableCap
from scenarios.parity.compare import Difference, Exchange
from scenarios.parity.parity import Parity, Wanted, model_of
from scenarios.parity.shrink import shortest
from tests.scenarios.parity.damage import NoOverlapCheck
from tests.scenarios.parity.plain_kernel import PlainKernel


def numbered(number: int) -> EnableCap:
    return EnableCap(number)


def difference(calls: Sequence[Call]) -> Difference:
    return Difference(tuple(Exchange(call, DONE) for call in calls), Answer(-22))


class Sides:
    """Both sides; they differ at the first call after which they have seen a set."""

    def __init__(self, needed: set[int]) -> None:
        self.needed = needed
        self.tries = 0

    async def __call__(self, calls: Sequence[Call]) -> Difference | None:
        self.tries += 1
        seen: set[int] = set()
        for place, call in enumerate(calls):
            assert isinstance(call, EnableCap)
            assert call.capability is not None
            seen.add(call.capability)
            if self.needed <= seen:
                return difference(calls[: place + 1])
        return None


def run(needed: set[int], count: int) -> tuple[list[int], int]:
    sides = Sides(needed)
    calls = [numbered(number) for number in range(count)]

    async def body() -> Difference:
        found = await sides(calls)
        assert found is not None
        return await shortest(found, sides)

    found = trio.run(body)
    return [
        call.capability or 0 for call in found.calls if isinstance(call, EnableCap)
    ], sides.tries


@pytest.mark.parametrize(
    ("needed", "count"),
    [({0}, 1), ({0}, 100), ({99}, 100), ({3, 50}, 100), ({0, 1, 2, 3}, 4)],
)
def test_only_what_is_needed_is_left(needed: set[int], count: int) -> None:
    assert run(needed, count)[0] == sorted(needed)


@given(st.sets(st.integers(0, 199), min_size=1, max_size=5))
def test_so_it_is_for_any_calls(needed: set[int]) -> None:
    left, tries = run(needed, 200)
    assert left == sorted(needed)
    assert tries < 200


def test_few_calls_of_many_are_found_in_few_tries() -> None:
    left, tries = run({5_000, 19_999}, 20_000)
    assert left == [5_000, 19_999]
    assert tries < 60


async def test_refused_calls_are_left_out_at_once() -> None:
    tried: list[int] = []

    async def try_calls(calls: Sequence[Call]) -> Difference | None:
        tried.append(len(calls))
        return difference(calls)

    before = [Exchange(numbered(n), Answer(-22 if n % 2 else 0)) for n in range(100)]
    found = Difference((*before, Exchange(numbered(100), DONE)), Answer(-17))
    assert len((await shortest(found, try_calls)).calls) == 1
    assert tried[0] == 51


async def test_what_cannot_be_shown_again_stays_as_it_was() -> None:
    async def never(calls: Sequence[Call]) -> Difference | None:
        return None

    found = difference([numbered(n) for n in range(5)])
    assert await shortest(found, never) == found


async def test_to_shrink_ends(pool: TaskPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity_module, "MOST_SHRINKING", 0)
    made: list[Call] = []
    kernel = PlainKernel(made.append)

    def make(scheduler: Scheduler) -> Update:
        return NoOverlapCheck(model_of(kernel.features)(scheduler).vm)

    tally = await Parity(kernel, Wanted(calls=500), make=make).run(pool)
    assert tally.found is not None
    assert tally.shortest is not None
    # One try is made, without what was refused: then it was enough.
    assert len(tally.shortest.calls) < len(tally.found.calls)
    assert len(made) == len(tally.found.calls) + len(tally.shortest.calls)
