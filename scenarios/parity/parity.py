"""As many calls as wanted, on as many VMs as needed, to kernel and model."""

from __future__ import annotations

import errno
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from time import monotonic
from typing import Protocol

import attrs

from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from scenarios.checkers.judge import Verdict
from scenarios.parity.calls import Answer, Call, Features
from scenarios.parity.chance import Chance
from scenarios.parity.compare import (
    Comparison,
    Difference,
    Exchange,
    first_difference,
)
from scenarios.parity.generator import Generator, slots_in_play
from scenarios.parity.kernel import OutOfMemoryError
from scenarios.parity.model import MakeUpdate, with_model
from scenarios.parity.shrink import shortest
from vcpus.arch_x86 import ArchX86

CALLS_PER_SLOT = 8
LEAST_CALLS = 2_000
"""Calls to one VM: enough for its slots to fill up; then comes a new one."""

TELL_EVERY = 500
"""Calls between two reports of progress."""

MOST_SHRINKING = 200_000
"""Calls after which a difference is short enough, whatever it is."""

RING_EVERY, RING_CALLS = 4, 500
"""Every so many VMs one is to have dirty rings; it is kept for so many calls."""


class AnsweringVm(AbstractContextManager["AnsweringVm"], Protocol):
    """A VM of whoever is asked; leaving its block destroys it."""

    def answer(self, call: Call) -> Answer:
        """Make a call."""


class AskedKernel(Protocol):
    """Whoever is asked: `scenarios.parity.kernel.Kernel`, or what stands in for it."""

    features: Features

    def create_vm(self) -> AnsweringVm:
        """A VM without slots and vCPUs."""


@attrs.frozen(kw_only=True)
class Wanted:
    """What is to be compared.

    Attributes:
        calls: How many calls.
        seed: Where they are drawn from.
        slots: How many slot ids are in play.
        seconds: When to stop although there are calls left; None never.
        one_vm: Whether all calls go to one VM.
        recordable: Whether a recording can hold all about them; see `Generator`.
    """

    calls: int
    seed: int = 0
    slots: int = 64
    seconds: float | None = None
    one_vm: bool = False
    recordable: bool = False


@attrs.define(kw_only=True)
class Tally:
    """What came of it, so far.

    Attributes:
        agreed: Calls that were answered alike.
        succeeded: Those of them that succeeded.
        refused: The others, by errno.
        vms: VMs that were made.
        most_slots: Slots that a VM has had at a time.
        seconds: How long it took.
        ended_by: ``calls``: all were made; ``time``, ``memory``, ``difference``, or
            ``search``: overlapping calls have too many orders.
        found: The difference as it was found.
        shortest: The same, shrunk.
        overlapping: Calls of several threads that overlapped another.
        unexplained: Why no order explains the answers to calls of several threads.
        lines: A recording of those calls.
    """

    agreed: int = 0
    succeeded: int = 0
    refused: Counter[str] = attrs.field(factory=Counter)
    vms: int = 0
    most_slots: int = 0
    seconds: float = 0.0
    ended_by: str = "calls"
    found: Difference | None = None
    shortest: Difference | None = None
    overlapping: int = 0
    unexplained: str = ""
    lines: list[str] = attrs.field(factory=list)

    @property
    def verdict(self) -> Verdict:
        """What that means."""
        if self.ended_by == "difference":
            return Verdict.VIOLATION
        if self.ended_by in {"memory", "search"} or not self.agreed:
            return Verdict.INCONCLUSIVE
        return Verdict.HOLDS

    def add(self, exchange: Exchange) -> None:
        """Count one call that was answered alike."""
        self.agreed += 1
        result = exchange.kernel.result
        if result >= 0:
            self.succeeded += 1
        else:
            self.refused[errno.errorcode.get(-result, str(-result))] += 1


def model_of(features: Features) -> MakeUpdate:
    """The model of a kernel: unbroken, on x86."""

    def make(scheduler: Scheduler) -> Update:
        return Update(
            Vm(
                scheduler,
                profile=features.profile,
                address_space_count=features.address_space_count,
                arch=ArchX86,
            )
        )

    return make


def ignore(*told: object) -> None:
    """Nobody listens."""


class Parity:
    """Compares the running kernel with the model.

    Args:
        kernel: The one side.
        wanted: How much of it.
        make: Makes the other side; by default the model as it is.

    Attributes:
        tally: What came of it so far.
        on_exchange: Called with each call that the kernel has answered.
        on_progress: Called now and then with the number of calls made.
    """

    def __init__(
        self,
        kernel: AskedKernel,
        wanted: Wanted,
        *,
        make: MakeUpdate | None = None,
    ) -> None:
        self.tally = Tally()
        self._kernel = kernel
        self._wanted = wanted
        self._make = make or model_of(kernel.features)
        self.on_exchange: Callable[[Exchange], object] = ignore
        self.on_progress: Callable[[int], object] = ignore
        self._began = monotonic()

    async def run(self, pool: TaskPool) -> Tally:
        """Compare until the calls are used up, the time is, or there is a difference.

        A difference is shrunk before this returns.
        """
        tally = self.tally
        try:
            for exchanges in self._vms():
                comparison = Comparison(self._watched(exchanges), tally.add)
                await with_model(pool, self._make, comparison)
                if comparison.difference is not None:
                    tally.ended_by = "difference"
                    tally.found = tally.shortest = comparison.difference
                    tally.shortest = await self._shrunk(pool, comparison.difference)
                if tally.ended_by != "calls":
                    break
        except OutOfMemoryError:
            tally.ended_by = "memory"
        finally:
            tally.seconds = monotonic() - self._began
        return tally

    def _vms(self) -> Iterator[Iterator[Exchange]]:
        """The exchanges with one VM after the other."""
        for vm, generator, count in vms(self._kernel, self._wanted):
            self.tally.vms += 1
            with vm:
                try:
                    yield exchanges(vm, generator, count)
                finally:
                    most = generator.tracked.most_used
                    self.tally.most_slots = max(self.tally.most_slots, most)

    def _watched(self, exchanges: Iterator[Exchange]) -> Iterator[Exchange]:
        """The same, until the time is up."""
        tally = self.tally
        seconds = self._wanted.seconds
        deadline = None if seconds is None else self._began + seconds
        for exchange in exchanges:
            self.on_exchange(exchange)
            yield exchange
            if not tally.agreed % TELL_EVERY:
                self.on_progress(tally.agreed)
            if deadline is not None and monotonic() >= deadline:
                tally.ended_by = "time"
                return

    async def _shrunk(self, pool: TaskPool, found: Difference) -> Difference:
        made = self.tally.agreed

        async def try_calls(calls: Sequence[Call]) -> Difference | None:
            nonlocal made
            if made - self.tally.agreed > MOST_SHRINKING:
                return None
            made += len(calls)
            self.on_progress(made)
            with self._kernel.create_vm() as vm, suppress(OutOfMemoryError):
                answered = answers(vm, calls)
                return await first_difference(pool, self._make, answered)
            return None

        return await shortest(found, try_calls)


def vms(
    kernel: AskedKernel, wanted: Wanted
) -> Iterator[tuple[AnsweringVm, Generator, int]]:
    """One VM after the other, who makes up its calls, and how many; to be closed."""
    chance = Chance(wanted.seed)
    slots = slots_in_play(chance, kernel.features, wanted.slots)
    left = wanted.calls
    for number in itertools.count():
        rings = number % RING_EVERY == 1
        count = RING_CALLS if rings else max(LEAST_CALLS, CALLS_PER_SLOT * len(slots))
        count = left if wanted.one_vm else min(count, left)
        if not count:
            return
        left -= count
        generator = Generator(
            chance,
            kernel.features,
            slots,
            rings=rings,
            recordable=wanted.recordable,
        )
        yield kernel.create_vm(), generator, count


def exchanges(vm: AnsweringVm, generator: Generator, count: int) -> Iterator[Exchange]:
    """So many calls and the kernel's answers; each depends on those before."""
    for _ in range(count):
        call = generator.next_call()
        answer = vm.answer(call)
        generator.learn(call, answer)
        yield Exchange(call, answer)


def answers(vm: AnsweringVm, calls: Iterable[Call]) -> Iterator[Exchange]:
    """What the kernel answers to given calls."""
    for call in calls:
        yield Exchange(call, vm.answer(call))
