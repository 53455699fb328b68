"""A reader beside a writer who moves a slot: every order of a small program."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from memslots.arrays.array_update import ArrayUpdate
from memslots.arrays.array_vm import ArrayVm
from memslots.slot import INVALID
from memslots.slot_set import Memslots
from memslots.units import Gfn
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.domain import SrcuDomain
from scenarios.checkers.consistent_set import ConsistentSet
from scenarios.checkers.history import History
from scenarios.checkers.no_use_after_free import NoUseAfterFree
from scenarios.checkers.retired_set_quiet import RetiredSetQuiet
from scenarios.checkers.sets_converge import SetsConverge
from tests.memslots.arrays import broken
from tests.memslots.arrays.world import Looker, OneStepSrcu, assert_at_rest
from tests.memslots.world import region
from tests.support.exploring import in_every_order
from tests.support.running import Build, Run
from vcpus.lookup import Granularity, SlotLookup
from vcpus.tracepoints import SlotLookedUp


class NoNotifier(ArrayUpdate):
    """Publishes without a thought of MMU notifiers, of which there are none."""

    async def publish(self, as_id: int, slots: Memslots) -> None:
        await self.assign_active(as_id, slots)


@attrs.define
class Program:
    """A VM with two slots, a writer who moves one, and a reader who looks it up once.

    Attributes:
        srcu: Makes its SRCU domain.
        update: Makes its protocol.
        granularity: Whether the reader's search is one step, or each slot it reads.
        looker: The vCPU that reads; None for a reader that uses the set's cache.
    """

    srcu: Callable[[Scheduler, str], SrcuDomain] = SrcuDomain
    update: Callable[[Vm], Update] = ArrayUpdate
    granularity: Granularity = Granularity.OPERATION
    looker: Callable[[], Looker] | None = None

    def build(self) -> Build[Vm]:
        def build(scheduler: Scheduler) -> Vm:
            vm = ArrayVm(scheduler, srcu=self.srcu)
            vm.install([region(2, 0x40), region()])
            update = self.update(vm)
            lookup = SlotLookup(vm, self.granularity)
            looker = None if self.looker is None else self.looker()

            async def write() -> None:
                await update.set_memory_region(region(gfn=0x20))

            async def read() -> None:
                async with vm.srcu.reading():
                    if looker is None:
                        await lookup.gfn_to_memslot(0, Gfn(0x10))
                    else:
                        await lookup.vcpu_gfn_to_memslot(looker, Gfn(0x10))

            scheduler.task("writer", write)
            scheduler.task("reader", read)
            return vm

        return build


def found(run: Run[Vm]) -> str:
    """What the reader found in the place that the slot leaves."""
    (slot,) = [
        event.slot for _, _, event in run.records if isinstance(event, SlotLookedUp)
    ]
    if slot is None:
        return "nothing"
    return "invalid" if slot.flags & INVALID else "slot"


JUDGES = (ConsistentSet, NoUseAfterFree, RetiredSetQuiet, SetsConverge)


def objections(run: Run[Vm]) -> str:
    """The checkers that object, from the records alone."""
    history = History()
    judges = [kind(history) for kind in JUDGES]
    tables = [*(judge.handlers() for judge in judges), history.handlers]
    for record in run.records:
        for table in tables:
            if type(record.event) in table:
                table[type(record.event)](record, record.event)
    return ", ".join(judge.id for judge in judges if judge.count)


def verdict(run: Run[Vm]) -> str:
    """Who objects, or what the reader found."""
    objecting = objections(run)
    if objecting or run.report.error is not None:
        error = run.report.error
        return f"{objecting}: {'' if error is None else type(error).__name__}"
    assert run.report.ending is Ending.COMPLETED
    assert_at_rest(run.made)
    return found(run)


@pytest.mark.slow
async def test_every_order_of_a_lookup_and_a_move_holds(pool: TaskPool) -> None:
    program = Program(OneStepSrcu, NoNotifier, looker=Looker)
    verdicts = await in_every_order(pool, program.build(), verdict)
    assert verdicts.total() > 4_000
    assert set(verdicts) == {"slot", "invalid", "nothing"}


@pytest.mark.slow
async def test_every_order_with_two_preemptions_holds(pool: TaskPool) -> None:
    program = Program(granularity=Granularity.NODE)
    verdicts = await in_every_order(pool, program.build(), verdict, preemptions=2)
    assert verdicts.total() > 2_000
    assert set(verdicts) == {"slot", "invalid", "nothing"}


@pytest.mark.slow
async def test_without_a_grace_period_some_orders_do_not(pool: TaskPool) -> None:
    program = Program(update=broken.WaitsForNobody)
    verdicts = await in_every_order(pool, program.build(), verdict, preemptions=2)
    # The array is freed, or used again, under the reader, who may notice or not.
    assert {"no-use-after-free: ", ": UseAfterFree"} <= set(verdicts)
    assert any(
        each.startswith("consistent-set, retired-set-quiet") for each in verdicts
    )
    assert {"slot", "invalid", "nothing"} <= set(verdicts)
