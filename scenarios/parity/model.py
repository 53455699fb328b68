"""The model as something that answers calls one after the other, as a kernel does.

Nobody runs beside the caller but the worker of its SRCU domain, so whoever can go on
does, and only a wait lets the other task run.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Awaitable, Callable

import attrs

from memslots.dirty_bitmap import BITS_PER_LONG
from memslots.errors import IoctlError
from memslots.guest_memfd import GuestMemfd
from memslots.slot import SlotId
from memslots.units import PAGE_SIZE
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Task
from scenarios.parity.calls import (
    DONE,
    GUEST_MEMFDS,
    Answer,
    Call,
    ClearDirtyLog,
    EnableCap,
    GetDirtyLog,
    ResetRings,
    SetRegion,
)

MakeUpdate = Callable[[Scheduler], Update]
"""Makes the VM of the model and its protocol."""


class Model:
    """One VM of the model.

    Args:
        update: Its protocol.
    """

    def __init__(self, update: Update) -> None:
        self.update = update
        self.vm: Vm = update.vm
        self.vm.guest_memfds = {
            descriptor: GuestMemfd(pages * PAGE_SIZE)
            for descriptor, pages in GUEST_MEMFDS.items()
        }

    async def answer(self, call: Call) -> Answer:
        """Make a call; what the model itself fails with is an answer, too."""
        try:
            return await self._answer(call)
        except IoctlError as refused:
            return Answer(refused.result)
        except Exception as error:  # noqa: BLE001 - a broken model fails as it likes
            text = str(error).partition("\n")[0]
            return Answer(0, failure=f"{type(error).__name__}: {text}")

    async def _answer(self, call: Call) -> Answer:
        log = self.vm.dirty_log
        match call:
            case SetRegion(region):
                await self.update.set_memory_region(region)
            case GetDirtyLog(slot, copy_out):
                words = await log.get_dirty_log(slot, copy_out=copy_out)
                return Answer(0, self._bitmap(slot or 0, dict(words)))
            case ClearDirtyLog(slot, first_page, num_pages, mask):
                masks = None if mask is None else dict(enumerate(mask))
                await log.clear_dirty_log(slot, first_page, num_pages, masks)
            case EnableCap(capability, value, flags):
                await log.enable_cap(capability, flags, value)
            case ResetRings():
                return Answer(await log.reset_dirty_rings())
        return DONE

    def _bitmap(self, number: int, words: dict[int, int]) -> bytes:
        """What user space finds in its memory; see `Answer.bitmap`."""
        as_id, slot_id = SlotId.of(number)
        slot = self.vm.active(as_id).peek().id_to_memslot(slot_id)
        npages = 0 if slot is None else slot.npages
        count = -(-npages // BITS_PER_LONG)
        whole = struct.pack(f"={count}Q", *(words.get(i, 0) for i in range(count)))
        return whole.rstrip(b"\xee")  # which the kernel's side cannot tell, either


class Staying:
    """Lets the task that runs go on as long as it can."""

    patience = 0

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        return current if current in ready else ready[0]


async def with_model(
    pool: TaskPool, make: MakeUpdate, body: Callable[[Model], Awaitable[None]]
) -> None:
    """Let ``body`` ask a new model.

    Args:
        pool: Where the tasks are borrowed.
        make: Makes the model.
        body: Runs as the only task of user space.
    """
    scheduler = ControlledScheduler(Staying(), cpus=1, budget=sys.maxsize)
    model = Model(make(scheduler))
    scheduler.task("caller", _Caller(model, body))
    report = await pool.run(scheduler)
    if report.error is not None:
        raise report.error


@attrs.frozen
class _Caller:
    """The body of the one task of user space."""

    model: Model
    body: Callable[[Model], Awaitable[None]]

    async def __call__(self) -> None:
        """Ask, from the first point on."""
        vm = self.model.vm
        await vm.scheduler.point(vm.slot_memory.read)
        await self.body(self.model)
