"""Many mutants and their twins, tried in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import attrs

from scenarios.errors import InputError
from scenarios.explorer.engines import begin_worker
from scenarios.mutants.registry import Registered, one
from scenarios.mutants.trying import (
    Tried,
    Twin,
    TwinTried,
    try_mutant,
    try_twin,
    twins_of,
)

Note = Callable[[Tried | TwinTried], None]
"""Is told of each that was tried, in the order in which they end."""


@attrs.frozen
class Results:
    """What came of them.

    Attributes:
        mutants: In the order in which they were asked for.
        twins: One for each scenario.
    """

    mutants: tuple[Tried, ...]
    twins: tuple[TwinTried, ...]

    @property
    def is_good(self) -> bool:
        """Whether every mutant was killed as stated, and every twin holds."""
        return all(each.fate == "killed" for each in self.mutants) and all(
            each.holds for each in self.twins
        )


class Batch:
    """Mutants to be tried.

    Args:
        wanted: The mutants.
        without: Checkers that do not look; then no twins are tried.

    Attributes:
        twins: Those that are tried beside them.
    """

    def __init__(
        self, wanted: Sequence[Registered], without: Collection[str] = ()
    ) -> None:
        self.wanted = wanted
        self.without = tuple(without)
        self.twins: list[Twin] = []
        if not without:
            self.twins = twins_of(each.mutant for each in wanted)

    def run(self, jobs: int, note: Note = lambda _: None) -> Results:
        """Try them.

        Args:
            jobs: In how many processes; one means this one.
            note: See `Note`.

        Raises:
            InputError: A scenario is not there, or a worker has died.
            KeyboardInterrupt: The text says how many were tried.
        """
        if jobs == 1:
            return self._run_here(note)
        executor = ProcessPoolExecutor(
            min(jobs, len(self.wanted) + len(self.twins)) or 1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=begin_worker,
        )
        try:
            return self._run_in(executor, note)
        except BrokenProcessPool:
            raise InputError(
                "a worker process has ended, perhaps for want of memory; try fewer"
                " --jobs"
            ) from None
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _run_here(self, note: Note) -> Results:
        tried: list[Tried] = []
        twins: list[TwinTried] = []
        try:
            for registered in self.wanted:
                tried.append(try_mutant(registered, self.without))
                note(tried[-1])
            for twin in self.twins:
                twins.append(try_twin(twin))
                note(twins[-1])
        except KeyboardInterrupt:
            raise self._interrupted(len(tried), len(twins)) from None
        return Results(tuple(tried), tuple(twins))

    def _run_in(self, executor: ProcessPoolExecutor, note: Note) -> Results:
        # The twins first: they take longest.
        twins = [executor.submit(try_twin, twin) for twin in self.twins]
        tried = [
            executor.submit(_try, registered.name, self.without)
            for registered in self.wanted
        ]
        futures: list[Future[Any]] = [*twins, *tried]
        try:
            for future in as_completed(futures):
                note(future.result())
        except KeyboardInterrupt:
            done = (sum(map(_is_done, each)) for each in (tried, twins))
            raise self._interrupted(*done) from None
        return Results(
            tuple(future.result() for future in tried),
            tuple(future.result() for future in twins),
        )

    def _interrupted(self, mutants: int, twins: int) -> KeyboardInterrupt:
        tried = f"{mutants} of {len(self.wanted)} mutants"
        if self.twins:
            tried += f" and {twins} of {len(self.twins)} twins"
        return KeyboardInterrupt(f"{tried} were tried")


def _try(name: str, without: Collection[str]) -> Tried:
    return try_mutant(one(name), without)


def _is_done(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
