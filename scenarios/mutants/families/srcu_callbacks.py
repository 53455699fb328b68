"""Sleepable RCU: callbacks, on which processor they wait, and who waits for them."""

from __future__ import annotations

from memslots.update import Update
from rcu.rcuwait import Completion
from rcu.srcu.counters import Callback
from rcu.srcu.domain import SrcuDomain
from rcu.srcu.grace_period import STATE_MASK
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step


class AsksBeforeItNumbers(SrcuDomain):
    """Asks for the grace period that it has read of before the callback got one."""

    async def call(self, callback: Callback, *, expedited: bool = False) -> None:
        """See `SrcuDomain.call`."""
        wanted = await self.get_state()
        await self.enqueue(callback)
        await self.request(wanted, expedited=expedited)


class CallsOnOneCpu(SrcuDomain):
    """Never looks at what other processors have queued."""

    async def invoke_callbacks(self) -> None:
        """Call what is due on the first processor."""
        await self.invoke_callbacks_of(self.cpus[0])


class CallsAtTheStart(SrcuDomain):
    """Calls back when the grace period begins."""

    async def start(self) -> None:
        """Begin, and call at once."""
        await super().start()
        await self.invoke_callbacks()

    def is_due(self, callback: Callback) -> bool:
        """Whether the grace period that a callback waits for has begun."""
        return callback.cookie <= self.gp_seq + STATE_MASK


class LooksForCallbacksOnOneCpu(SrcuDomain):
    """Waits for the callbacks of one processor."""

    async def barrier_one_cpu(self, place: int) -> list[Completion]:
        """Wait for those of the first processor only."""
        return [] if place else await super().barrier_one_cpu(place)


class CleansUpAtOnce(Update):
    """Gives the domain up whoever may still need it."""

    async def wait_for_callbacks(self) -> None:
        """See `Teardown.wait_for_callbacks`."""


MUTANTS = (
    Mutant(
        id="70",
        title="the number that is asked for is read before the callback gets its own",
        step=Step.SRCU_NUMBERS,
        why=(
            "A grace period may begin or end between the two, and then the callback"
            " waits for one that nobody has asked for. It is never called, and whoever"
            " synchronizes waits for it for ever."
        ),
        provenance=Provenance(
            kind="fix",
            subject="srcu: Fix callbacks acceleration mishandling",
            release="6.1.72",
        ),
        scenario="device-and-slot",
        checker="lost-wakeup",
        parts=Parts(srcu=AsksBeforeItNumbers),
        preemptions=1,
    ),
    Mutant(
        id="71",
        title="callbacks are called on one processor only",
        step=Step.SRCU_CALLS_BACK,
        why=(
            "A callback waits on the processor that queued it. If nobody looks there,"
            " the grace period ends and the updater sleeps on."
        ),
        provenance=Provenance(
            kind="fix",
            subject="srcu: Delegate work to the boot cpu if using SRCU_SIZE_SMALL",
            release="6.1.16",
        ),
        scenario="lookup-on-another-cpu",
        checker="lost-wakeup",
        parts=Parts(srcu=CallsOnOneCpu),
        preemptions=0,
    ),
    Mutant(
        id="72",
        title="the domain is cleaned up while a grace period is under way",
        step=Step.SRCU_ENDS,
        why=(
            "Whoever drives the grace period, and whoever is called back, would use the"
            " domain when it is freed. So all callbacks must have been called before."
        ),
        provenance=Provenance(
            kind="fix",
            subject="srcu: Tighten cleanup_srcu_struct() GP checks",
            release="5.18.11",
        ),
        scenario="device-and-end",
        checker="grace-period",
        parts=Parts(update=CleansUpAtOnce),
        preemptions=0,
    ),
    Mutant(
        id="R10",
        title="callbacks are called when the grace period begins",
        step=Step.SRCU_CALLS_BACK,
        why=(
            "A callback frees what readers may still hold. Nothing has been scanned"
            " when the grace period begins."
        ),
        provenance=Provenance(
            kind="rule", subject="a callback is called behind its grace period"
        ),
        scenario="lookup-and-create",
        checker="grace-period",
        parts=Parts(srcu=CallsAtTheStart),
        preemptions=1,
    ),
    Mutant(
        id="R11",
        title="the barrier looks for callbacks on one processor",
        step=Step.SRCU_CALLS_BACK,
        why=(
            "Callbacks wait on the processor that queued them. A barrier that misses"
            " one lets the domain be given up while it is queued."
        ),
        provenance=Provenance(
            kind="rule", subject="a barrier waits for the callbacks of every processor"
        ),
        scenario="device-and-end",
        checker="grace-period",
        parts=Parts(srcu=LooksForCallbacksOnOneCpu),
        preemptions=0,
    ),
)
