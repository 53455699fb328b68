"""Has the units of a search done, and keeps how far it is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool

import attrs

from scenarios.errors import InputError
from scenarios.explorer.engines import Engine, Sent, packed
from scenarios.explorer.exploration import Progress
from scenarios.explorer.program import Program
from scenarios.explorer.state_parts import Plain
from scenarios.explorer.units import Done, Slice, do
from scenarios.explorer.works import Work

SAVED_EVERY = 5.0
"""Seconds between two checkpoints, at least."""

MOST_SAVING = 0.1
"""The part of the time that may go into checkpoints."""

TOLD_EVERY = 0.25
"""Seconds between two calls of ``on_progress``."""

SENT_FOR = 1.0
"""Seconds for which another process goes on with a unit."""

SHORT = 0.2
"""Seconds for which this process does, while others may be waiting for it."""

Save = Callable[[Work, list[Plain]], None]
"""Is given a work and its units that are out."""


@attrs.define(eq=False)
class _Out:
    """A unit that is out.

    Attributes:
        unit: With where it stands.
        counts: How far it is.
        is_done: Whether it is done.
        future: If somebody else goes on with it.
    """

    unit: Plain
    counts: Plain = attrs.field(factory=dict)
    is_done: bool = False
    future: Future[Done] | None = None


AHEAD = 4
"""Slices that wait for each worker, or are done by it: it is never without work."""


class Driver:
    """Does works.

    Args:
        program: What is explored.
        engine: Where units are done.
        stride: Steps after which a unit can be stopped.
        deadline: When to stop, by the monotonic clock; never if None.
        slice_for: Seconds for which a unit is gone on with at a time, at most; for
            tests.
        save: See `Save`; None if nothing is kept.
        on_progress: Is told how far the search is.

    Attributes:
        gave_up: Whether there was no time to do the last work to its end.
    """

    gave_up = False

    def __init__(
        self,
        program: Program,
        engine: Engine,
        *,
        stride: int,
        deadline: float | None = None,
        slice_for: float | None = None,
        save: Save | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._program = program
        self._engine = engine
        self._stride = stride
        self._deadline = deadline
        self._slice_for = slice_for
        self._save = save
        self._on_progress = on_progress
        self._saved_at = time.monotonic()
        self._saving_took = 0.0
        self._told_at = 0.0
        self._packed_program: tuple[bytes, bytes] | None = None
        self._packed: tuple[Work, int, tuple[bytes, bytes]] | None = None
        self._out: deque[_Out] = deque()

    @property
    def is_late(self) -> bool:
        """Whether there is no time left."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def run(self, work: Work, units: list[Plain]) -> None:
        """Do a work, to its end or as long as there is time.

        Args:
            work: What is done.
            units: Those that were out when it was stopped the last time.

        Raises:
            KeyboardInterrupt: It was saved before.
            BaseException: See `do`.
        """
        self.gave_up = False
        out = self._out = deque(_Out(unit) for unit in units)
        ahead = 3 * AHEAD * self._engine.workers + self._engine.works_here
        try:
            while not work.is_over:
                if self.is_late:
                    self._wait(all_=True)
                    self.save(work)
                    work.give_up([each.unit for each in out])
                    self.gave_up = True
                    return
                while len(out) < ahead and (unit := work.next()) is not None:
                    out.append(_Out(unit))
                self._go_on(work)
                self._merge(work)
                self._keep(work)
        except KeyboardInterrupt:
            self.save(work)
            raise
        finally:
            self._cancel()

    def save(self, work: Work) -> None:
        """Keep how far it is."""
        if self._save is None:
            return
        began = time.monotonic()
        self._save(work, [each.unit for each in self._out])
        self._saved_at = time.monotonic()
        self._saving_took = self._saved_at - began

    def _keep(self, work: Work) -> None:
        """Save if it is time to."""
        if self._save is not None and self._until_saved() <= 0:
            self.save(work)

    def _until_saved(self) -> float:
        every = max(SAVED_EVERY, self._saving_took / MOST_SAVING)
        if self._slice_for is not None:
            every = min(every, self._slice_for)
        return self._saved_at + every - time.monotonic()

    def _merge(self, work: Work) -> None:
        out = self._out
        while out and out[0].is_done and not work.is_over:
            instead = work.merge(out.popleft().unit)
            if instead is not None:
                out.appendleft(_Out(instead))

    def _cancel(self) -> None:
        """Nobody needs what is out any more."""
        for each in self._out:
            if each.future is not None:
                each.future.cancel()
        self._out.clear()

    def _go_on(self, work: Work) -> None:
        """Do something, here or elsewhere."""
        engine = self._engine
        free = [each for each in self._out if each.future is None and not each.is_done]
        going = sum(each.future is not None for each in self._out)
        kept = int(engine.works_here)
        while len(free) > kept and going < AHEAD * engine.workers:
            self._send(work, free.pop(kept))
            going += 1
        if engine.works_here and free:
            self._do_here(work, free[0])
            self._wait(timeout=0)
        else:
            self._wait(timeout=TOLD_EVERY)
        self._tell(work)

    def _do_here(self, work: Work, out: _Out) -> None:
        is_alone = all(each.future is None for each in self._out)
        seconds = [] if is_alone else [SHORT]
        if self._slice_for is not None:
            seconds.append(self._slice_for)
        if self._deadline is not None:
            seconds.append(self._deadline - time.monotonic())
        if self._save is not None:
            seconds.append(self._until_saved())

        def tell(counts: Plain) -> None:
            out.counts = counts
            self._tell(work)

        least = min(seconds, default=None)
        done = do(
            self._program,
            Slice(work.kind, work.shared, out.unit, least, self._stride),
            None if self._on_progress is None else tell,
        )
        self._take(out, done)
        if done.interrupted:
            raise KeyboardInterrupt

    def _take(self, out: _Out, done: Done) -> None:
        out.unit = out.unit | {"state": done.state}
        out.counts = done.counts
        out.is_done = not done.more

    def _send(self, work: Work, out: _Out) -> None:
        if self._packed_program is None:
            self._packed_program = packed(self._program)
        if self._packed is None or self._packed[:2] != (work, work.round):
            self._packed = work, work.round, packed(work.shared)
        seconds = SENT_FOR if self._slice_for is None else self._slice_for
        rest = Slice(work.kind, None, out.unit, seconds, self._stride)
        try:
            out.future = self._engine.submit(
                Sent(self._packed_program, self._packed[2], rest)
            )
        except BrokenProcessPool:
            raise _died() from None

    def _wait(self, *, timeout: float | None = None, all_: bool = False) -> None:
        """Take what others have done; wait for somebody if they are all busy."""
        futures = [each.future for each in self._out if each.future is not None]
        if not futures:
            return
        if all_:
            wait(futures)
        else:
            wait(futures, timeout, FIRST_COMPLETED)
        for each in self._out:
            if each.future is not None and each.future.done():
                future, each.future = each.future, None
                try:
                    self._take(each, future.result())
                except BrokenProcessPool:
                    raise _died() from None

    def _tell(self, work: Work) -> None:
        """Tell how far it is, a few times a second."""
        now = time.monotonic()
        if self._on_progress is None or now < self._told_at + TOLD_EVERY:
            return
        self._told_at = now
        counts = work.counts()
        for name in ("executions", "steps", "states"):
            if name in counts or any(name in each.counts for each in self._out):
                counts[name] = counts.get(name, 0) + sum(
                    each.counts.get(name, 0) for each in self._out
                )
        counts["level"] = next(
            (each.counts["level"] for each in self._out if "level" in each.counts), None
        )
        self._on_progress(Progress(**counts))


def _died() -> InputError:
    return InputError(
        "a worker process has ended, perhaps for want of memory; try fewer --jobs"
    )
