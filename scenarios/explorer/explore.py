"""Ask a question of a program: search its orders, and show what was found.

Before anything is believed, a few orders are run twice, on programs built anew. What
the search finds is made short, and run twice again, before it is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs
import trio

from rcu.schedule.pool import open_pool
from scenarios.errors import InputError
from scenarios.explorer.checkpoint import Checkpoint, write_checkpoint
from scenarios.explorer.collector import little_garbage_collection
from scenarios.explorer.dpor import EndlessRunError, UndeclaredError
from scenarios.explorer.driver import Driver
from scenarios.explorer.engines import Engine
from scenarios.explorer.exploration import (
    BOUNDED,
    EXHAUSTIVE,
    Answer,
    Progress,
    Question,
    Shown,
    Verdict,
)
from scenarios.explorer.measure import measure
from scenarios.explorer.program import Finding, Instance, Program
from scenarios.explorer.repeats import Run, assert_repeatable, replay_twice, tell_twice
from scenarios.explorer.state_parts import Plain
from scenarios.explorer.values import CannotTellError
from scenarios.explorer.without_end import Endless, livelock_orders, starving_order
from scenarios.explorer.words import bound_of
from scenarios.explorer.works import (
    Bounded,
    Order,
    Samples,
    Sizes,
    States,
    Traces,
    Work,
)
from scenarios.strategies.by_name import SAMPLERS, Options

STEPS_FOR_SHORTER = 500_000
"""When to look no longer for a shorter order."""


def explore(
    program: Program,
    question: Question,
    *,
    engine: Engine | None = None,
    checkpoint: Path | None = None,
    resume: Checkpoint | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    sizes: Sizes | None = None,
    slice_for: float | None = None,
) -> Answer:
    """Search the orders of a program.

    The answer depends on the program, the question and the sizes, and on nothing else,
    unless there is a limit of time.

    Args:
        program: What is explored; other processes get it pickled.
        question: What is asked.
        engine: Where the work is done; it is closed then. By default here.
        checkpoint: A file in which it is kept how far the search is.
        resume: From where to go on; it was checked to be of this program and question.
        on_progress: Is told how far the search is, a few times a second.
        sizes: How the work is cut; what ``resume`` says if there is one.
        slice_for: After how many seconds a unit is stopped and gone on with, at most,
            and a checkpoint is written; for tests.

    Raises:
        InputError: The question cannot be answered for this program, or a file cannot
            be written.
        NotDeterministicError: The same order does not lead to the same run.
        KeyboardInterrupt: The checkpoint was written.
        BaseException: A body raised what is no finding.
    """
    engine = engine or Engine()
    if resume is not None:
        sizes = resume.cut()
    exploration = _Exploration(program, question, sizes or Sizes(), checkpoint, resume)
    deadline = None
    if question.time_limit is not None:
        deadline = time.monotonic() + question.time_limit
    driver = Driver(
        program,
        engine,
        stride=exploration.sizes.stride,
        deadline=deadline,
        slice_for=slice_for,
        save=None if checkpoint is None else exploration.save,
        on_progress=on_progress,
    )
    try:
        with little_garbage_collection():
            return exploration.answer(driver)
    except (UndeclaredError, EndlessRunError) as error:
        raise InputError(f"{program.name}: {error}") from error
    except CannotTellError as error:
        raise InputError(
            f"{program.name}: its state cannot be put back: {error}"
        ) from error
    finally:
        engine.close()


class _Exploration:
    """An exploration and how far it is."""

    def __init__(
        self,
        program: Program,
        question: Question,
        sizes: Sizes,
        checkpoint: Path | None,
        resume: Checkpoint | None,
    ) -> None:
        self.sizes = sizes
        self._program = program
        self._question = question
        self._checkpoint = checkpoint
        self._kept: Plain = {} if resume is None else resume.state
        self._began = time.monotonic()
        if resume is not None:
            self._began -= resume.seconds
        self._reason = ""  # why states are not told
        self._main: Work
        self._short: list[Bounded] = []

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def answer(self, driver: Driver) -> Answer:
        """Search, and tell what was found."""
        self._reason = self._kept.get("reason", "")
        trio.run(self._check)
        try:
            self._search(driver)
        except CannotTellError as error:
            if self._reason or not self._tells_states:
                raise
            self._reason, self._kept = str(error), {}
            self._search(driver)
        ended_late = driver.gave_up
        shown = self._show(driver)
        return self._answer(shown, ended_late=ended_late)

    @property
    def _tells_states(self) -> bool:
        question = self._question
        return question.strategy == EXHAUSTIVE and question.prune and not self._reason

    async def _check(self) -> None:
        """Run a few orders twice."""
        async with open_pool() as pool:
            await assert_repeatable(self._program, pool)
            if self._question.strategy in SAMPLERS:
                return
            instance = Instance(self._program)
            instance.scheduler.borrowed(await pool.lend(instance.scheduler))
            try:
                tell_twice(instance)
            except CannotTellError as error:
                self._cannot_tell(error)
            finally:
                instance.close()

    def _cannot_tell(self, error: CannotTellError) -> None:
        if self._question.strategy == BOUNDED:
            raise InputError(
                f"{self._program.name}: strategy bounded tells states apart, and cannot"
                f" here: {error}; try exhaustive, or a strategy that draws orders"
            ) from error
        if self._question.prune:
            self._reason = str(error)

    def _search(self, driver: Driver) -> None:
        self._main = self._work()
        units: list[Plain] = []
        if self._kept:
            self._main.restore(self._kept["main"])
            units = self._kept["out"] if not self._kept["short"] else []
        driver.run(self._main, units)

    def _work(self) -> Work:
        question = self._question
        if question.strategy in SAMPLERS:
            return Samples(question, trio.run(self._lengths), self.sizes)
        if question.strategy == BOUNDED:
            return Bounded(limit=question.preemptions, most_steps=question.max_steps)
        return States(question, self.sizes) if self._tells_states else Traces(question)

    async def _lengths(self) -> Plain | None:
        """How long runs are, if the strategy has to know."""
        if not SAMPLERS[self._question.strategy](0, Options()).learns:
            return None
        async with open_pool() as pool:
            lengths = await measure(self._program, pool)
            return attrs.asdict(lengths)

    def save(self, work: Work, units: list[Plain]) -> None:
        """Keep how far it is."""
        assert self._checkpoint is not None
        write_checkpoint(
            self._checkpoint,
            self._program,
            self._question,
            self.sizes,
            seconds=self._seconds,
            state={
                "reason": self._reason,
                "main": self._main.state(),
                "short": [each.state() for each in self._short],
                "out": units,
            },
        )

    # What is shown.

    def _show(self, driver: Driver) -> list[Shown]:
        found = self._main.found
        any_ = self._question.max_fail == 1
        shown: dict[Finding, Shown] = {}
        for number, (finding, (order, seed)) in enumerate(found.items()):
            wanted = None if any_ else finding
            search = self._shortest_known()
            if search is None:
                search = self._shortest(driver, number, wanted, len(found))
            short = [order for order, _ in search.found.values()] if search else []
            run = trio.run(self._replay, (short or [order])[0])
            assert run.finding is not None
            is_minimal = bool(short) and search is not None and search.done
            shown.setdefault(
                run.finding,
                _shown(
                    run, run.finding, "minimal" if is_minimal else "shrunk", seed=seed
                ),
            )
            if any_:
                break
        shown |= {
            each.finding: _shown(each.run, each.finding, "shrunk")
            for each in trio.run(self._endless)
        }
        return [*shown.values()]

    def _shortest_known(self) -> Bounded | None:
        """The search that was made, if it has found the shortest order already."""
        main = self._main
        if self._question.fewest == "preemptions" and isinstance(main, Bounded):
            return main
        return None

    def _shortest(
        self, driver: Driver, number: int, wanted: Finding | None, count: int
    ) -> Bounded | None:
        """Look for the shortest order; None if there is no time or no way to."""
        search = Bounded(
            switches=True, wanted=wanted, most_steps=STEPS_FOR_SHORTER // count
        )
        kept = self._kept.get("short", [])
        units: list[Plain] = []
        if number < len(kept):
            search.restore(kept[number])
            units = self._kept["out"] if number == len(kept) - 1 else []
        self._short.append(search)
        try:
            driver.run(search, units)
        except CannotTellError:
            return None
        return search

    async def _replay(self, order: Order) -> Run:
        async with open_pool() as pool:
            return await replay_twice(self._program, pool, order)

    async def _endless(self) -> list[Endless]:
        """What never ends, if anything does."""
        main = self._main
        async with open_pool() as pool:
            if isinstance(main, States) and self._is_exhausted:
                return await livelock_orders(self._program, pool, main.rounds)
            if isinstance(main, Samples) and main.stopped:
                return await starving_order(self._program, pool)
        return []

    @property
    def _is_exhausted(self) -> bool:
        main = self._main
        if isinstance(main, States):
            return not main.rounds.items
        return isinstance(main, Traces | Bounded) and main.exhausted

    def _answer(self, shown: list[Shown], *, ended_late: bool) -> Answer:
        main, question = self._main, self._question
        exhausted = self._is_exhausted
        states = interleavings = traces = None
        if isinstance(main, States):
            states = len(main.rounds.known.states)
            if exhausted:
                interleavings = main.rounds.interleavings
        if isinstance(main, Traces):
            traces = main.executions
        return Answer(
            verdict=self._verdict(shown),
            exhausted=exhausted,
            bound=bound_of(
                question,
                main,
                exhausted=exhausted,
                ended_late=ended_late,
                interleavings=interleavings,
                reason=self._reason,
            ),
            executions=main.executions,
            redundant=main.redundant if isinstance(main, Traces) else 0,
            steps=main.steps,
            distinct_states=states,
            distinct_traces=traces,
            interleavings=interleavings,
            shown=tuple(shown),
            seconds=self._seconds,
        )

    def _verdict(self, shown: list[Shown]) -> Verdict:
        if shown:
            return "violation"
        main = self._main
        if self._is_exhausted:
            return "holds"
        if isinstance(main, Samples):
            whole = main.seeds_done >= self._question.seeds.stop
            return "holds" if whole and not main.stopped else "inconclusive"
        return "holds" if isinstance(main, Bounded) and main.done else "inconclusive"


def _shown(
    run: Run,
    finding: Finding,
    quality: Literal["minimal", "shrunk"],
    *,
    seed: int | None = None,
) -> Shown:
    return Shown(
        finding=finding,
        order=run.order,
        quality=quality,
        preemptions=run.preemptions,
        blocks=run.blocks,
        seed=seed,
    )
