"""A run depends on its seed and what was learnt, and on nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from rcu.schedule.pool import TaskPool
from scenarios.planner import plan_for
from scenarios.runner import run_in_trio
from scenarios.strategies.by_name import SAMPLERS, STRATEGIES, Options
from tests.scenarios.strategies import orders
from tests.scenarios.strategies.delete_protocol import DeleteProtocol
from tests.scenarios.strategies.orders import (
    CASES,
    orders_of,
    sampler,
    told_of_every_case,
)

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("case", CASES)
async def test_a_run_is_that_of_its_seed_whatever_was_run_before(
    pool: TaskPool, case: str
) -> None:
    lengths = await DeleteProtocol.measure(pool)
    forth = await orders_of(pool, sampler(case), lengths, range(60))
    back = await orders_of(pool, sampler(case, 99), lengths, range(59, -1, -1))
    assert back == forth
    assert len(set(forth.values())) > 50
    chunk = await orders_of(pool, sampler(case, 7), lengths, range(20, 30))
    assert chunk.items() <= forth.items()


@pytest.mark.parametrize("case", CASES)
async def test_a_seed_means_the_same_to_a_new_sampler(
    pool: TaskPool, case: str
) -> None:
    lengths = await DeleteProtocol.measure(pool)
    expected = await orders_of(pool, sampler(case), lengths, range(20))
    for seed, order in expected.items():
        strategy = sampler(case, seed)
        strategy.learn(lengths)
        protocol = DeleteProtocol(strategy)
        protocol.scheduler.keep_record()
        await protocol.run_on(pool)
        assert protocol.scheduler.order() == order


@pytest.mark.parametrize("case", CASES)
async def test_without_a_seed_it_goes_on_drawing(pool: TaskPool, case: str) -> None:
    strategy = sampler(case)
    strategy.learn(await DeleteProtocol.measure(pool))
    protocol = DeleteProtocol(strategy)
    protocol.scheduler.keep_record()
    found = set()
    for _ in range(30):
        await protocol.run_on(pool)
        found.add(protocol.scheduler.order())
    assert len(found) > 25


@pytest.mark.parametrize("name", SAMPLERS)
async def test_the_name_alone_means_the_usual_options(
    pool: TaskPool, name: str
) -> None:
    protocol = DeleteProtocol(STRATEGIES[name](3))
    protocol.scheduler.keep_record()
    await protocol.run_on(pool)
    usual = DeleteProtocol(SAMPLERS[name](0, Options()))
    usual.scheduler.keep_record()
    await usual.run(pool, 3)
    assert usual.scheduler.order() == protocol.scheduler.order()


@pytest.mark.parametrize("name", STRATEGIES)
async def test_a_scenario_runs_in_its_order_and_again(
    pool: TaskPool, name: str
) -> None:
    plan = plan_for("fault-during-delete", strategy=name, seed=1)
    first = await run_in_trio(plan, pool)
    assert first.judgement.violations == ()
    assert (await run_in_trio(plan, pool)).order == first.order


@pytest.mark.slow
def test_the_hash_seed_of_the_process_changes_nothing() -> None:
    there = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", orders.__name__],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert there == trio.run(told_of_every_case)
    assert len(there) > 5_000
