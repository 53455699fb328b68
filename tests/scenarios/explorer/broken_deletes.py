"""The protocol that deletes a slot under SRCU, with one step missing or too early."""

from __future__ import annotations

from rcu.schedule.scheduler import Scheduler
from scenarios.explorer.delete_under_srcu import DeleteUnderSrcu, Protocol, Slot


class NoFirstSync(Protocol):
    """Goes on while readers may use the set without the mark."""

    async def synchronize_invalid(self) -> None:
        pass


class NoSecondSync(Protocol):
    """Frees the slot while readers may use the set with the mark."""

    async def retire(self) -> None:
        await self.edit(Slot.NONE)
        await self.free()


class FreeEarly(Protocol):
    """Frees the slot, and then waits."""

    async def retire(self) -> None:
        await self.free()
        await self.synchronize()
        await self.edit(Slot.NONE)


class OneFlip(Protocol):
    """Waits for one rank only: a reader may have read the other index long ago."""

    async def synchronize(self) -> None:
        await self.flip()
        await self.scan()


BROKEN: dict[str, type[Protocol]] = {
    "NO_SYNC1": NoFirstSync,
    "NO_SYNC2": NoSecondSync,
    "FREE_EARLY": FreeEarly,
    "ONE_FLIP": OneFlip,
}


class BrokenDelete(DeleteUnderSrcu):
    """One writer that deletes wrongly, and readers.

    Args:
        kind: What is wrong.
        readers: How many.
    """

    def __init__(self, kind: type[Protocol], readers: int = 2) -> None:
        super().__init__(readers)
        self.kind = kind
        self.name = f"{kind.__name__}-{readers}"

    def protocol(self, scheduler: Scheduler, readers: int) -> Protocol:
        return self.kind(scheduler, readers)
