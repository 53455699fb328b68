"""How often a sampler shows what is broken in the deleting protocol.

The protocol is written twice: for the search of samplers here, and for the tests of
samplers. Seed by seed the same is found. (``benchmarks/explore.py --hits`` makes
100,000 runs of each.)
"""

from __future__ import annotations

from math import sqrt

import pytest

from rcu.schedule.pool import open_pool
from scenarios.explorer.measure import measure
from scenarios.explorer.sampling import SampleSearch
from scenarios.strategies.sampler import Sampler
from tests.scenarios.explorer import chances
from tests.scenarios.explorer.broken_deletes import BROKEN, BrokenDelete
from tests.scenarios.explorer.searching import search
from tests.scenarios.strategies.test_finding import FOUND, RUNS, sampler

CHANCES = {
    "NO_SYNC1": 0.233215,
    "NO_SYNC2": 0.028834,
    "FREE_EARLY": 0.023203,
    "ONE_FLIP": 0.008000,
}
"""Of a random walk, with two readers."""


async def failures(program: BrokenDelete, strategy: Sampler) -> int:
    async with open_pool() as pool:
        strategy.learn(await measure(program, pool))
        sampled = SampleSearch(program, pool, strategy, range(RUNS))
        await sampled.begin()
        while sampled.advance(100_000):
            pass
        return sampled.failures


@pytest.mark.slow
@pytest.mark.parametrize("told", FOUND)
async def test_as_much_is_found_as_in_the_other_writing(told: str) -> None:
    counts = [
        await failures(BrokenDelete(kind, 2), sampler(told)) for kind in BROKEN.values()
    ]
    assert tuple(counts) == FOUND[told]


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_random_walk_finds_what_the_states_say(broken: str) -> None:
    done = await search(BrokenDelete(BROKEN[broken], 2))
    chance = chances.of_a_random_walk(done.graph)
    assert chance == pytest.approx(CHANCES[broken], abs=1e-6)
    counted = FOUND["random"][[*BROKEN].index(broken)]
    deviation = sqrt(RUNS * chance * (1 - chance))
    assert abs(counted - RUNS * chance) < 3 * deviation


@pytest.mark.parametrize("broken", BROKEN)
async def test_the_chance_is_the_same_whether_readers_stand_for_each_other(
    broken: str,
) -> None:
    done = await search(BrokenDelete(BROKEN[broken], 2), symmetric=False)
    chance = chances.of_a_random_walk(done.graph)
    assert chance == pytest.approx(CHANCES[broken], abs=1e-6)
