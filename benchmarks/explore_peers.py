"""The reference protocol for explorers that run asyncio code, where they are installed.

Readers and writer are those of `scenarios.explorer.delete_under_srcu`; a point is
``asyncio.sleep(0)``, and a scan waits for an event that the last reader of a rank sets.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, SupportsIndex

import attrs

from rcu.operation import Operation
from scenarios.explorer.delete_under_srcu import Protocol
from tests.scenarios.explorer.broken_deletes import BROKEN

READERS = 2
WHOLE = "whole"


class _Idle:
    """Stands where the protocol expects a scheduler."""

    tracing = False
    emit = None

    def point(self, op: Operation) -> Any:
        """Let others run."""
        return asyncio.sleep(0)

    def task(self, name: str, body: object) -> None:
        """The explorer starts the tasks."""


class _Counts(list[int]):
    """Readers by rank, with an event for each rank that nobody is counted on."""

    def __init__(self) -> None:
        super().__init__([0, 0])
        self.quiet = [asyncio.Event(), asyncio.Event()]
        for event in self.quiet:
            event.set()

    def __setitem__(self, rank: SupportsIndex | slice, count: Any) -> None:
        super().__setitem__(rank, count)
        if isinstance(rank, int):
            event = self.quiet[rank]
            if count:
                event.clear()
            else:
                event.set()


class _OnAsyncio(Protocol):
    """The protocol as coroutines of asyncio."""

    def __init__(self) -> None:
        super().__init__(_Idle(), 0)  # type: ignore[arg-type]
        self.counted = _Counts()
        self.shared.readers = self.counted

    async def scan(self) -> None:
        """See `Protocol.scan`."""
        rank = 1 - self.shared.srcu_idx
        await asyncio.sleep(0)
        while self.counted[rank]:
            await self.counted.quiet[rank].wait()


KINDS: dict[str, Callable[[], _OnAsyncio]] = {
    WHOLE: _OnAsyncio,
    **{name: type(name, (kind, _OnAsyncio), {}) for name, kind in BROKEN.items()},
}


async def _everyone(kind: str) -> None:
    """One run of the readers and the writer."""
    protocol = KINDS[kind]()
    readers = (protocol.read() for _ in range(READERS))
    await asyncio.gather(*readers, protocol.delete())


@attrs.frozen
class Claim:
    """What a search says of a protocol.

    Attributes:
        found: Whether it has found something.
        text: What it says if not.
        executions: How many runs it made.
    """

    found: bool
    text: str
    executions: int


Mode = Callable[[str], Claim]
"""Searches a kind of the protocol."""


class Peer(ABC):
    """An explorer that somebody else wrote.

    Attributes:
        name: Of the distribution and of its package.
    """

    name: str

    def __init__(self) -> None:
        self.api = importlib.import_module(self.name)
        self.version = version(self.name)

    @abstractmethod
    def rates(self) -> dict[str, Callable[[], int]]:
        """Measures of its speed; each returns how many runs of the whole it made."""

    @abstractmethod
    def modes(self) -> dict[str, Mode]:
        """Ways to search, as they are if nobody says how far."""


class Detangle(Peer):
    """Random walks, PCT and delay-bounded search for asyncio."""

    name = "detangle"

    def _explore(self, kind: str, **options: Any) -> Claim:
        async def main() -> None:
            await _everyone(kind)

        said = {"shrink": False, "database": False, "seed": 0, **options}
        try:
            stats = self.api.explore(main, **said)
        except self.api.BugFound as found:
            return Claim(found=True, text="", executions=found.report.runs)
        text = "exhausted" if stats.exhausted else "no bug found"
        return Claim(found=False, text=text, executions=stats.runs)

    def _rate(self, strategy: str) -> int:
        return self._explore(WHOLE, runs=1_000, strategy=strategy).executions

    def rates(self) -> dict[str, Callable[[], int]]:
        """See `Peer.rates`."""
        return {name: partial(self._rate, name) for name in ("random", "pct")}

    def modes(self) -> dict[str, Mode]:
        """See `Peer.modes`."""
        return {
            "explore()": self._explore,
            "strategy='dfs'": lambda kind: self._explore(
                kind, strategy="dfs", runs=100_000
            ),
        }


class Frontrun(Peer):
    """Partial-order reduction over what bytecode touches.

    Its random schedules are not measured: where a task waits they wait for a clock.
    """

    name = "frontrun"

    def _explore(self, kind: str, **options: Any) -> Claim:
        tasks: list[Callable[[_OnAsyncio], Any]]
        tasks = [_OnAsyncio.read] * READERS + [lambda protocol: protocol.delete()]

        async def explore() -> Any:
            return await self.api.explore(
                setup=KINDS[kind], workers=tasks, invariant=lambda _: True, **options
            )

        result = asyncio.run(explore())
        return Claim(
            found=result.property_holds is False,
            text=f"property_holds={result.property_holds}",
            executions=result.num_explored,
        )

    def _dpor(self) -> int:
        return self._explore(WHOLE, max_executions=100).executions

    def rates(self) -> dict[str, Callable[[], int]]:
        """See `Peer.rates`."""
        return {"dpor": self._dpor}

    def modes(self) -> dict[str, Mode]:
        """See `Peer.modes`."""
        return {"explore()": lambda kind: self._explore(kind, reproduce_on_failure=0)}


class Simloom(Peer):
    """Random walks, PCT and delay-bounded search for asyncio; logs every event."""

    name = "simloom"

    def _rate(self, scheduler: str) -> int:
        async def main() -> None:
            await _everyone(WHOLE)

        return int(self.api.explore(main, runs=200, scheduler=scheduler).runs)

    def _systematic(self, kind: str) -> Claim:
        async def main() -> None:
            await _everyone(kind)

        result = self.api.explore_systematic(main)
        return Claim(
            found=result.failed,
            text=f"proven_correct={result.proven_correct}",
            executions=result.schedules,
        )

    def rates(self) -> dict[str, Callable[[], int]]:
        """See `Peer.rates`."""
        return {
            "random": partial(self._rate, "random"),
            "pct:auto": partial(self._rate, "pct:auto"),
        }

    def modes(self) -> dict[str, Mode]:
        """See `Peer.modes`."""
        return {"explore_systematic()": self._systematic}


PEERS: Sequence[type[Peer]] = (Detangle, Frontrun, Simloom)


def installed() -> Iterator[tuple[str, Peer | None]]:
    """Each peer by name, None if it is not there."""
    for kind in PEERS:
        peer: Peer | None = None
        with contextlib.suppress(ImportError, PackageNotFoundError):
            peer = kind()
        yield kind.name, peer
