"""What each sampler finds, what it does not, and how often."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rcu.schedule.pool import TaskPool
from scenarios.strategies.by_name import SAMPLERS, Options
from scenarios.strategies.pct import Pct
from scenarios.strategies.sampler import Sampler
from tests.scenarios.strategies.ascending import Ascending
from tests.scenarios.strategies.delete_protocol import (
    DeleteProtocol,
    FreeEarly,
    NoFirstSync,
    NoSecondSync,
    OneFlip,
)
from tests.scenarios.strategies.small_programs import Program, Runner

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "strategies.md"

RUNS = 2_000

BROKEN: tuple[type[DeleteProtocol], ...] = (
    NoFirstSync,
    NoSecondSync,
    FreeEarly,
    OneFlip,
)

# The probabilities of the survey, from 40,000 runs of a separate simulation, are
# .25 .030 .026 .009 (random), .13 .041 .036 0 (pct 3), .19 .059 .066 .007 (pct 5),
# .17 .055 .076 .018 (pos), .18 .037 .066 .015 (urw): in 2,000 runs, as often as this.
FOUND = {
    "random": (484, 44, 41, 6),
    "sticky": (410, 107, 114, 12),
    "pct": (301, 50, 54, 0),
    "pct 5": (361, 89, 83, 4),
    "pos": (374, 121, 158, 36),
    "urw": (367, 77, 145, 51),
}


def sampler(told: str) -> Sampler:
    name, _, depth = told.partition(" ")
    if told == "sticky":
        return SAMPLERS["random"](0, Options(sticky=0.5))
    return SAMPLERS[name](0, Options(depth=int(depth or 3)))


async def found(
    pool: TaskPool, kind: type[DeleteProtocol], sampler: Sampler, runs: int = RUNS
) -> int:
    """In how many runs the protocol shows that it is broken."""
    sampler.learn(await kind.measure(pool))
    protocol = kind(sampler)
    return sum([await protocol.run(pool, seed) for seed in range(runs)])


@pytest.mark.slow
@pytest.mark.parametrize("told", FOUND)
async def test_each_finds_what_is_broken_as_often_as_it_should(
    pool: TaskPool, told: str
) -> None:
    counts = [await found(pool, kind, sampler(told)) for kind in BROKEN]
    assert tuple(counts) == FOUND[told]


def test_the_reference_says_the_same() -> None:
    rows = re.findall(r"(?<=\| [234] \| ).*(?= \|\n)", PAGE.read_text())
    by_kind = [tuple(map(int, row.split(" | "))) for row in rows]
    assert by_kind == list(zip(*FOUND.values(), strict=True))


@pytest.mark.parametrize("told", FOUND)
async def test_none_finds_anything_where_nothing_is_broken(
    pool: TaskPool, told: str
) -> None:
    assert await found(pool, DeleteProtocol, sampler(told), runs=500) == 0


@pytest.mark.slow
@pytest.mark.parametrize("depth", [3, 5])
async def test_what_needs_the_writer_to_come_back_is_out_of_reach_of_the_ascending(
    pool: TaskPool, depth: int
) -> None:
    """Probability 0, as in a peer that has this defect; of the right order above."""
    assert await found(pool, NoFirstSync, Ascending(0, depth)) > 200
    assert await found(pool, NoSecondSync, Ascending(0, depth)) == 0
    assert await found(pool, FreeEarly, Ascending(0, depth)) == 0


LATE: Program = [[("write", 0)], [("read", 1)] * 9 + [("read", 0)]]
"""Broken if the write comes after ten steps of the other task."""


@pytest.mark.slow
async def test_how_likely_a_task_sleeps_through_ten_steps_of_another(
    pool: TaskPool,
) -> None:
    late: dict[str, int] = {}
    for name, make in SAMPLERS.items():
        strategy = make(0, Options(depth=1))
        runner = Runner(strategy, LATE)
        strategy.learn(await runner.measure(pool, LATE))
        runs = 0
        for seed in range(2_200):
            strategy.reseed(seed)
            runs += (await runner.run(pool))[-1] == 0
        late[name] = runs
    # 2**-10, 1/2, 1/11 and 1/11 of the runs: 2, 1100, 200, 200
    assert late == {"random": 1, "pct": 1_131, "pos": 222, "urw": 188}


def test_pct_says_how_likely_it_finds_something_at_least() -> None:
    assert Pct(0, depth=1).detection_probability(3, 27) == 1 / 3
    assert Pct(0).detection_probability(3, 27) == 1 / (3 * 27 * 27)
