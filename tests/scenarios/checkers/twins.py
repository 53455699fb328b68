"""One call of a protocol, broken or not, on a VM with one slot; judged by all."""

from __future__ import annotations

from collections.abc import Callable

from memslots.allocator import Allocation
from memslots.region import Change, Region
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from scenarios.checkers.judge import Judge, Judgement
from tests.memslots.world import answer, deletion, region, run_writer
from vcpus.arch_x86 import ArchX86

LOG = LOG_DIRTY_PAGES

CALLS = {
    "create": (region(2, 0x20, flags=LOG), None),
    "create without memory": (region(2, 0x20, flags=LOG), Allocation.LPAGE_INFO),
    "delete": (deletion(), None),
    "move": (region(gfn=0x20, flags=LOG), None),
    "move and log off": (region(gfn=0x20), None),
    "move without memory": (region(gfn=0x20, flags=LOG), Allocation.LPAGE_INFO),
    "flags": (region(), None),
}
"""Changes of slot 1, or beside it, and what there is no memory for in them."""


class AllocatesMeanwhile(ArchX86):
    """A vCPU needs the first shadow root while a slot is INVALID."""

    async def flush_shadow_memslot(self, slot: MemorySlot) -> None:
        await super().flush_shadow_memslot(slot)
        async with self.vm.srcu.reading():
            await self.shadow_roots.first_alloc()


class DoesNotResync(Update):
    """Does not take over what was allocated while the slot was INVALID."""

    def resync_arch(self, old: MemorySlot, invalid: MemorySlot) -> None:
        pass


class MovesTheArrays(ArchX86):
    """Lets a slot that moves keep its arrays."""

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        same = Change.FLAGS_ONLY if change is Change.MOVE else change
        await super().prepare_memory_region(old, new, same)


async def judged(
    pool: TaskPool,
    *requests: Region,
    update: Callable[[Vm], Update] = Update,
    arch: Callable[[Vm], ArchX86] = ArchX86,
    flags: int = 0,
    fail: Allocation | None = None,
) -> Judgement:
    """Make calls one after the other; slot 1 of 4 pages at gfn 0x10 is object #1.

    Args:
        pool: Where the writer runs.
        requests: What it asks for.
        update: The protocol.
        arch: The architecture.
        flags: Flags of slot 1.
        fail: What there is no memory for in the first call.
    """

    def build(scheduler: Scheduler) -> Update:
        vm = Vm(scheduler, arch=arch)
        vm.install([region(flags=flags)])
        return update(vm)

    async def write(update: Update) -> None:
        if fail is not None:
            update.vm.allocator.fail(fail)
        for request in requests:
            await answer(update, request)

    run = await run_writer(pool, write, build)
    judge = Judge()
    judge.read(run.records)
    return judge.conclude()


def seen_by(checker: str, judgement: Judgement) -> list[str]:
    """What a checker has seen."""
    return [each.seen for each in judgement.violations if each.checker == checker]


async def unbroken(pool: TaskPool, name: str, arch: type[ArchX86]) -> Judgement:
    """Make one of `CALLS` as it should be; slot 1 logs dirty pages.

    Args:
        pool: Where the writer runs.
        name: Which call.
        arch: The architecture.
    """
    request, fail = CALLS[name]
    return await judged(pool, request, arch=arch, flags=LOG, fail=fail)
