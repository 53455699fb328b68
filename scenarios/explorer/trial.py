"""The orders of a program that a test declares are tried.

Before anything is believed, a few orders are run twice, on programs built anew: what
differs then is no matter of order. What the search finds is run twice again before it
is told. And where states were told apart, some orders are drawn and run nevertheless:
what tasks share may be where no search sees it, in a module's global.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import attrs
import trio

from rcu.schedule.pool import TaskPool, open_pool
from rcu.schedule.task import Strategy
from scenarios.explorer.collector import little_garbage_collection
from scenarios.explorer.declared import DeclaredProgram
from scenarios.explorer.marker import BOUNDED, EXHAUSTIVE, Options
from scenarios.explorer.program import Finding, Instance
from scenarios.explorer.repeats import (
    CHECKED,
    NotDeterministicError,
    Run,
    tell_twice,
)
from scenarios.explorer.runs import FAILURES, Runner
from scenarios.explorer.shortest import BoundedSearch
from scenarios.explorer.states import StateSearch
from scenarios.explorer.values import CannotTellError
from scenarios.strategies.by_name import SAMPLERS
from scenarios.strategies.by_name import Options as SamplerOptions
from scenarios.strategies.pilot import RUNS as PILOT_RUNS
from scenarios.strategies.pilot import Pilot
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.replay import ReplayDivergedError
from scenarios.strategies.round_robin import RoundRobin
from scenarios.strategies.sampler import Sampler

REPLAY = "replay"

DRAWN = 100
"""Orders that are drawn after a search that has told states apart."""

RUNS_FOR_SHORTER = 5_000
STEPS_FOR_SHORTER = 500_000
"""When to look no longer for a shorter order."""

STRIDE = 5_000
"""Steps between two looks at what a search has found."""


class NotExhaustedError(Exception):
    """The limit was reached before the search was over, and nothing was found."""


@attrs.frozen(kw_only=True)
class Result:
    """What a search has shown.

    Attributes:
        broken: The run that breaks a rule or crashes; None if there is none.
        quality: What is known of its order: ``minimal``, ``found`` or ``replayed``.
        strategy: How orders were chosen.
        runs: How many were made.
        states: How many were told apart; 0 if they were not.
        words: What was searched.
    """

    broken: Run | None = None
    quality: str = ""
    strategy: str
    runs: int
    states: int = 0
    words: str


def search(program: DeclaredProgram, options: Options) -> Result:
    """Try the orders of a program.

    Raises:
        NotDeterministicError: The same order does not lead to the same run.
        NotExhaustedError: The limit was reached, and nothing was found.
        DeclarationError: There is no program.
        BaseException: The body of the test raised it.
    """
    with little_garbage_collection():
        return trio.run(_search, program, options)


def replay(program: DeclaredProgram, order: Sequence[int]) -> Result:
    """Run a program in an order, twice.

    Raises:
        ReplayDivergedError: A step of the order cannot be made, or is missing.
        NotDeterministicError: The same order does not lead to the same run.
    """
    return trio.run(_replay, program, order)


async def _search(program: DeclaredProgram, options: Options) -> Result:
    async with open_pool() as pool:
        return await _Trial(pool, program, options).search()


async def _replay(program: DeclaredProgram, order: Sequence[int]) -> Result:
    async with open_pool() as pool:
        runner = Runner(pool, program)
        run = await runner.again(await runner.replay(order))
    return Result(
        broken=None if run.is_good else run,
        quality="replayed",
        strategy=REPLAY,
        runs=runner.count,
        words=f"one order of {len(order)} steps, replayed twice",
    )


class _Trial:
    """A search.

    Args:
        pool: Where tasks run.
        program: What is searched.
        options: How.
    """

    def __init__(
        self, pool: TaskPool, program: DeclaredProgram, options: Options
    ) -> None:
        self._pool = pool
        self._program = program
        self._options = options
        self._runner = Runner(pool, program)
        self._states = 0
        self._executions = 0
        self._words = ""

    async def search(self) -> Result:
        broken = await self._run_twice()
        if broken is None:
            strategy = self._options.strategy
            if strategy == EXHAUSTIVE:
                broken = await self._exhaustive()
            elif strategy == BOUNDED:
                broken = await self._by_states(self._options.preemptions)
            else:
                broken = await self._sampled()
        quality = ""
        if broken is not None:
            broken = await self._runner.again(broken)
            broken, quality = await self._shortest(broken)
        return Result(
            broken=broken,
            quality=quality,
            strategy=self._options.strategy,
            runs=self._runner.count + self._executions,
            states=self._states,
            words=self._words,
        )

    async def _run_twice(self) -> Run | None:
        """Run a few orders twice; the first that crashes: nothing else counts then."""
        fair: list[Strategy] = [RoundRobin()]
        fair += map(RandomWalk, range(CHECKED - 1))
        for strategy in fair:
            run = await self._runner.again(await self._runner.run(strategy))
            if run.crashed:
                self._words = "one of the first orders"
                return run
        return None

    async def _exhaustive(self) -> Run | None:
        """Every order, by the states that it leads to if they can be told."""
        broken = await self._by_states(None)
        if broken is not None or not self._states:
            return broken
        for seed in range(DRAWN):
            run = await self._runner.run(RandomWalk(seed))
            if not run.is_good:
                self._words = (
                    f"drawn at random; {self._states:,} states had not told it apart:"
                    " tasks share what no operation names, or a module's global"
                )
                return run
        return None

    async def _by_states(self, preemptions: int | None) -> Run | None:
        """Every order, or those with so many preemptions at most."""
        try:
            async with self._instance() as instance:
                tell_twice(instance)
                if preemptions is None:
                    order = await self._each_state(instance)
                else:
                    order = await self._few_preemptions(instance, preemptions)
        except CannotTellError as error:
            self._states = self._executions = 0
            reason = f"each of them run, as states cannot be told: {error}"
            return await self._by_runs(preemptions, reason)
        return None if order is None else await self._confirmed(order)

    @asynccontextmanager
    async def _instance(self) -> AsyncIterator[_Instance]:
        instance = _Instance(self._program)
        instance.scheduler.borrowed(await self._pool.lend(instance.scheduler))
        try:
            yield instance
        finally:
            instance.close()

    async def _confirmed(self, order: Sequence[int]) -> Run:
        """The run of an order that breaks something where programs are run again."""
        try:
            run = await self._runner.replay(order)
        except ReplayDivergedError as error:
            raise NotDeterministicError(f"built anew, {error}") from None
        if run.is_good:
            raise NotDeterministicError(
                "an order that breaks something does not when the test is built anew:"
                " something outlives a run, like a module's global"
            )
        return run

    async def _each_state(self, instance: _Instance) -> Sequence[int] | None:
        """An order that breaks something; None if no order does."""
        search = StateSearch(instance)
        search.begin()
        limit = self._options.limit
        more = True
        while more and not search.found and len(search.states) < limit:
            more = search.advance(min(STRIDE, limit))
            await trio.lowlevel.checkpoint()
        self._count(len(search.states), search.executions)
        if search.found:
            return min((order for _, order in search.found), key=len)
        if more:
            raise NotExhaustedError(self._not_exhausted(f"{self._states:,} states"))
        orders = search.graph.interleavings()
        count = "orders without end" if orders is None else f"{orders:,} orders"
        self._words = f"all {count}: {self._words}"
        return None

    async def _few_preemptions(
        self, instance: _Instance, preemptions: int
    ) -> Sequence[int] | None:
        """An order with few preemptions that breaks something, or None."""
        search = BoundedSearch(instance, limit=preemptions)
        search.begin()
        limit = self._options.limit
        more = True
        while more and search.found is None and search.states < limit:
            more = search.advance(min(STRIDE, limit))
            await trio.lowlevel.checkpoint()
        self._count(search.states, search.executions)
        if search.found is not None:
            return search.found.order
        if more:
            raise NotExhaustedError(self._not_exhausted(f"{self._states:,} states"))
        whole = ", which are all there are" if search.exhausted else ""
        self._words = (
            f"all orders with at most {_times(preemptions)}{whole}: {self._words}"
        )
        return None

    def _count(self, states: int, executions: int) -> None:
        self._states, self._executions = states, executions
        self._words = f"{states:,} states in {executions:,} runs"

    async def _by_runs(self, preemptions: int | None, reason: str) -> Run | None:
        """Every order, or those with so many preemptions at most, each run."""
        bound = "" if preemptions is None else f" with at most {_times(preemptions)}"
        count = 0
        async with aclosing(self._runner.every_order(preemptions)) as runs:
            async for run in runs:
                count += 1
                self._words = f"{count:,} orders{bound}, {reason}"
                if not run.is_good:
                    return run
                if count == self._options.limit:
                    raise NotExhaustedError(self._not_exhausted(self._words))
        self._words = f"all {self._words}"
        return None

    def _not_exhausted(self, what: str) -> str:
        return (
            f"not exhausted after {what}, and nothing is broken so far; raise limit="
            f"{self._options.limit}, or try a part of the orders with"
            " strategy='bounded' or strategy='pos'"
        )

    async def _sampled(self) -> Run | None:
        """Orders that are drawn."""
        options = self._options
        sampler = SAMPLERS[options.strategy](options.seed, SamplerOptions())
        if sampler.learns:
            await self._learn(sampler)
        last = options.seed + options.schedules - 1
        self._words = (
            f"{options.schedules:,} orders drawn by {options.strategy},"
            f" seeds {options.seed} to {last}"
        )
        for seed in range(options.seed, last + 1):
            sampler.reseed(seed)
            run = await self._runner.run(sampler)
            if not run.is_good:
                self._words = f"drawn by {options.strategy} with seed {seed}"
                return run
        return None

    async def _learn(self, sampler: Sampler) -> None:
        pilot = Pilot()
        for _ in range(PILOT_RUNS):
            await self._runner.run(pilot)
        sampler.learn(pilot.lengths)

    async def _shortest(self, broken: Run) -> tuple[Run, str]:
        """The shortest run that is broken, and whether it is known to be that."""
        if broken.finding and broken.finding.checker == "step-budget":
            return broken, "found"
        try:
            async with self._instance() as instance:
                search = BoundedSearch(instance)
                search.begin()
                while search.advance(STRIDE) and search.steps < STEPS_FOR_SHORTER:
                    await trio.lowlevel.checkpoint()
            if search.found is not None:
                quality = "minimal" if search.done else "found"
                return await self._confirmed(search.found.order), quality
        except (CannotTellError, NotDeterministicError):
            pass  # what the test shares is out of sight, but each run is still new
        return await self._shortest_by_runs(broken)

    async def _shortest_by_runs(self, broken: Run) -> tuple[Run, str]:
        best: Run | None = None
        tried = 0
        for preemptions in range(broken.preemptions + 1):
            async with aclosing(self._runner.every_order(preemptions)) as runs:
                async for run in runs:
                    tried += 1
                    if not run.is_good:
                        best = run if best is None else min(best, run, key=_length)
                    if tried == RUNS_FOR_SHORTER:
                        return best or broken, "found"
            if best is not None:
                return best, "minimal"
        return broken, "found"


def _length(run: Run) -> tuple[int, int]:
    """What makes an order short."""
    return run.preemptions, len(run.steps)


def _times(preemptions: int) -> str:
    return f"{preemptions} preemption{'' if preemptions == 1 else 's'}"


class _Instance(Instance):
    """An instance in which an error of a task is found like a broken rule."""

    def look(self) -> Finding | None:
        """See `Instance.look`."""
        error = self.scheduler.failed
        if error is None:
            return super().look()
        return _finding(error)

    def at_end(self) -> Finding | None:
        """See `Instance.at_end`."""
        try:
            return super().at_end()
        except Exception as error:  # noqa: BLE001 - raised when the order is run again
            return _finding(error)


def _finding(error: BaseException) -> Finding:
    if not isinstance(error, (Exception, *FAILURES)):
        raise error
    return Finding("error", repr(error))
