"""Calls of several threads to one VM at a time.

They overlap, so the order in which the kernel took them is not known. The model's rules
are right if there is an order in which they give every answer that came back, and that
respects which call had returned before which was made.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from time import monotonic

import attrs

from scenarios.parity.calls import Answer, SetRegion
from scenarios.parity.compare import Exchange
from scenarios.parity.generator import Generator
from scenarios.parity.kernel import OutOfMemoryError
from scenarios.parity.lines import THREAD, entry_of, first_lines, line_of, result_of
from scenarios.parity.parity import (
    AnsweringVm,
    AskedKernel,
    Tally,
    Wanted,
    ignore,
    vms,
)
from scenarios.traces.importer import read_stream
from scenarios.traces.overlap import overlapping
from scenarios.traces.serial_order import GaveUp, explain
from scenarios.traces.stuck import Stuck


@attrs.frozen
class Moment:
    """A thread made a call, or got its answer.

    Attributes:
        thread: Which, from 0.
        call: The call.
        answer: None when it was made.
    """

    thread: int
    call: SetRegion
    answer: Answer | None = None


@attrs.define(eq=False)
class Hammer:
    """Threads that make calls to one VM until they have made so many.

    What is noted as made may be made a little later, and what is noted as answered has
    been answered a little earlier: so a call may seem to overlap others that it does
    not, but never the other way round.

    Attributes:
        vm: The VM.
        generator: Makes up the calls, for one thread at a time.
        left: Calls that are still to be made.
        deadline: When to stop all the same, by `monotonic`; None never.
        moments: What happened, in its order.
        error: What ended a thread.
    """

    vm: AnsweringVm
    generator: Generator
    left: int
    deadline: float | None
    moments: list[Moment] = attrs.field(factory=list)
    error: BaseException | None = None
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def run(self, threads: int) -> None:
        """Let so many threads make calls, and wait for all of them.

        Raises:
            OutOfMemoryError: The kernel has no memory for one of them.
            KeyboardInterrupt: Every call that was made has returned.
        """
        running = [
            threading.Thread(target=self._work, args=(number,))
            for number in range(threads)
        ]
        for thread in running:
            thread.start()
        try:
            for thread in running:
                thread.join()
        except KeyboardInterrupt:
            self.left = 0
            for thread in running:
                thread.join()
            raise
        if self.error is not None:
            raise self.error

    def _work(self, number: int) -> None:
        try:
            while (call := self._next_call()) is not None:
                self.moments.append(Moment(number, call))
                answer = self.vm.answer(call)
                self.moments.append(Moment(number, call, answer))
                with self._lock:
                    self.generator.learn(call, answer)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self.error = error
            self.left = 0

    def _next_call(self) -> SetRegion | None:
        with self._lock:
            if self.left <= 0 or _is_over(self.deadline):
                return None
            self.left -= 1
            while True:
                call = self.generator.next_call()
                if isinstance(call, SetRegion):
                    return call


class ThreadedParity:
    """Compares the running kernel with the rules of the model.

    Args:
        kernel: The one side.
        wanted: How much of it; region calls only.
        threads: How many threads make calls at a time.

    Attributes:
        tally: What came of it so far.
        on_lines: Called with the lines of a recording of one VM.
        on_progress: Called now and then with the number of calls made.
    """

    def __init__(self, kernel: AskedKernel, wanted: Wanted, threads: int) -> None:
        self.tally = Tally()
        self.on_lines: Callable[[Sequence[str]], object] = ignore
        self.on_progress: Callable[[int], object] = ignore
        self._kernel = kernel
        self._wanted = wanted
        self._threads = threads

    def run(self) -> Tally:
        """Compare until the calls are used up, the time is, or there is a difference.

        Raises:
            KeyboardInterrupt: What had been answered by then has been told.
        """
        tally = self.tally
        began = monotonic()
        seconds = self._wanted.seconds
        deadline = None if seconds is None else began + seconds
        try:
            for vm, generator, count in vms(self._kernel, self._wanted):
                tally.vms += 1
                with vm:
                    hammer = Hammer(vm, generator, count, deadline)
                    try:
                        hammer.run(self._threads)
                    finally:
                        self._judge(hammer)
                if _is_over(deadline):
                    tally.ended_by = "time"
                if tally.ended_by != "calls":
                    break
        except OutOfMemoryError:
            tally.ended_by = "memory"
        finally:
            tally.seconds = monotonic() - began
        return tally

    def _judge(self, hammer: Hammer) -> None:
        """Look for an order in which the rules give the answers of one VM."""
        tally, features = self.tally, self._kernel.features
        tally.most_slots = max(tally.most_slots, hammer.generator.tracked.most_used)
        profile = features.profile
        lines = [*first_lines(profile.user_mem_slots), *history_lines(hammer.moments)]
        self.on_lines(lines)
        if len(hammer.moments) < 2:
            return
        text = "".join(f"{line}\n" for line in lines)
        trace = read_stream(
            io.BytesIO(text.encode()), source="parity", max_calls=len(lines)
        )
        spaces = features.address_space_count
        found = explain(trace.calls, profile, address_space_count=spaces)
        if isinstance(found, Stuck):
            tally.ended_by = "difference"
            tally.unexplained = str(found)
            tally.lines = lines
            return
        if isinstance(found, GaveUp):
            tally.ended_by = "search"
            return
        pairs = overlapping(trace.calls)
        tally.overlapping += len({index for pair in pairs for index in pair})
        for moment in hammer.moments:
            if moment.answer is not None:
                tally.add(Exchange(moment.call, moment.answer))
        self.on_progress(tally.agreed)


def history_lines(moments: Sequence[Moment]) -> Iterator[str]:
    """What strace would have written: halves of calls that others interrupt.

    Args:
        moments: In their order; a call without an answer stays unfinished.
    """
    place = 0
    while place < len(moments):
        moment = moments[place]
        number = THREAD + moment.thread
        after = moments[place + 1] if place + 1 < len(moments) else None
        if moment.answer is not None:
            yield f"{number}  <... ioctl resumed>) = {result_of(moment.answer)}"
        elif (
            after is not None
            and after.thread == moment.thread
            and after.answer is not None
        ):
            yield line_of(moment.call, after.answer, number)
            place += 1
        else:
            yield f"{number}  {entry_of(moment.call, Answer(0))} <unfinished ...>"
        place += 1


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and monotonic() >= deadline
