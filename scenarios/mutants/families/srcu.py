"""Sleepable RCU: ranks and their counters, scan, flip, scan, and who waits."""

from __future__ import annotations

from rcu.srcu.counters import Cpu
from rcu.srcu.domain import SrcuDomain
from rcu.srcu.grace_period import SCAN2, STATE_MASK
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step

# The grace period.


class SkipsTheFirstScan(SrcuDomain):
    """Flips without asking whether somebody is left on the other rank."""

    async def grace_period(self) -> None:
        """Flip, then scan once."""
        await self.start()
        await self.flip()
        await self.set_state(SCAN2)
        await self.scan(self.other_rank())
        await self.end()


class SkipsTheSecondScan(SrcuDomain):
    """Ends as soon as it has flipped."""

    async def grace_period(self) -> None:
        """Scan once, then flip."""
        await self.start()
        await self.scan(self.other_rank())
        await self.flip()
        await self.set_state(SCAN2)
        await self.end()


class NeverFlips(SrcuDomain):
    """Scans the rank that nobody uses, twice."""

    async def flip(self) -> None:
        """Leave the index as it is."""


class ScansBothWithoutFlip(SrcuDomain):
    """Scans the rank in use as long as new readers keep it busy."""

    async def grace_period(self) -> None:
        """Scan each rank, wherever new readers go."""
        await self.start()
        await self.scan(self.other_rank())
        await self.set_state(SCAN2)
        await self.scan(1 - self.other_rank())
        await self.end()


class FlipsFirst(SrcuDomain):
    """Scans the rank that was current before the flip, twice."""

    async def grace_period(self) -> None:
        """Flip, then scan twice."""
        await self.start()
        await self.flip()
        await self.scan(self.other_rank())
        await self.set_state(SCAN2)
        await self.scan(self.other_rank())
        await self.end()


class SumsLocksFirst(SrcuDomain):
    """Counts who has left a section that it did not see begin."""

    async def read_counters(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Read the lock counters, and only then the unlock counters."""
        locks = await self.sum_locks(rank)
        return await self.sum_unlocks(rank), locks


class LooksAtOneCpu(SrcuDomain):
    """Takes one processor's counters for all."""

    def balanced(self, unlocks: tuple[int, ...], locks: tuple[int, ...]) -> bool:
        """Whether they are equal on the first processor."""
        return unlocks[0] == locks[0]


# Readers.


class LeavesTheCurrentRank(SrcuDomain):
    """Counts a reader out wherever new sections are counted in."""

    async def count_out(self, cpu: Cpu, rank: int) -> None:
        """Read the index again."""
        await super().count_out(cpu, await self.current_rank())


class KeepsItsRank(SrcuDomain):
    """Lets all sections of a task use the rank of its first."""

    async def current_rank(self) -> int:
        """Read the index once."""
        ranks: dict[int, int] = self.__dict__.setdefault("ranks", {})
        task = self._scheduler.current.index
        if task not in ranks:
            ranks[task] = await super().current_rank()
        return ranks[task]


class CountsDown(SrcuDomain):
    """Has one counter for a rank, which it reads, changes and writes."""

    async def count_in(self, cpu: Cpu, rank: int) -> None:
        """Add one, in two accesses."""
        await self.add(cpu, rank, 1)

    async def count_out(self, cpu: Cpu, rank: int) -> None:
        """Subtract one, in two accesses."""
        await self.add(cpu, rank, -1)

    async def add(self, cpu: Cpu, rank: int, number: int) -> None:
        """Change the counter that is there for both."""
        await self._scheduler.point(cpu.read_lock[rank])
        count = cpu.lock_count[rank]
        await self._scheduler.point(cpu.lock[rank])
        cpu.lock_count[rank] = count + number


# Updaters.


class TakesTheRunningOne(SrcuDomain):
    """Is content with a grace period that has begun before."""

    def snap(self) -> int:
        """The number that the running grace period ends with, or else the next."""
        return (self.gp_seq + STATE_MASK + 1) & ~STATE_MASK


class ExpeditesToNothing(SrcuDomain):
    """Hurries so much that it waits for nobody."""

    async def synchronize_expedited(self) -> None:
        """Return at once."""


def _rule(subject: str) -> Provenance:
    return Provenance(kind="rule", subject=subject)


MUTANTS = (
    Mutant(
        id="R1",
        title="the rank that is not current is not scanned before the flip",
        step=Step.SRCU_SCANS_FIRST,
        why=(
            "A reader may read the index, be held up, and count itself in only after"
            " a flip; the grace period that flipped need not wait for it. The next one"
            " must, and only its first scan looks there."
        ),
        provenance=_rule("a grace period scans the rank that is not current first"),
        scenario="lookup-and-delete",
        checker="grace-period",
        parts=Parts(srcu=SkipsTheFirstScan),
        preemptions=2,
        unseen_in=("lookup-and-create",),
    ),
    Mutant(
        id="R2",
        title="the rank that was current is not scanned after the flip",
        step=Step.SRCU_SCANS_AGAIN,
        why=(
            "Nearly every reader is counted in the rank that was current before the"
            " flip. Without that scan nobody waits for them."
        ),
        provenance=_rule("behind the flip the rank that was current is scanned"),
        scenario="lookup-and-create",
        checker="grace-period",
        parts=Parts(srcu=SkipsTheSecondScan),
        preemptions=1,
    ),
    Mutant(
        id="R3",
        title="the ranks are not flipped",
        step=Step.SRCU_FLIPS,
        why=(
            "Both scans look at the rank that new sections do not use. Without the"
            " flip that is the idle one both times, and the readers of the other are"
            " not waited for."
        ),
        provenance=_rule("between the scans the index is flipped"),
        scenario="lookup-and-create",
        checker="grace-period",
        parts=Parts(srcu=NeverFlips),
        preemptions=1,
    ),
    Mutant(
        id="R3b",
        title="both ranks are scanned, and never flipped",
        step=Step.SRCU_FLIPS,
        why=(
            "No reader is missed, but new ones keep coming to the rank that is"
            " scanned. If there is always one inside, the sums never agree, and the"
            " update never ends."
        ),
        provenance=_rule("the flip sends new readers where nobody waits for them"),
        scenario="four-guests-and-create",
        checker="starvation",
        parts=Parts(srcu=ScansBothWithoutFlip),
        preemptions=None,
        seeds=range(6),
        unseen_in=("lookup-and-create", "lookup-and-delete"),
    ),
    Mutant(
        id="R4",
        title="locks are summed before unlocks",
        step=Step.SRCU_SUMS,
        why=(
            "A section that begins and ends between the two sums adds its unlock, but"
            " not its lock. It makes up for an older section that has not ended."
        ),
        provenance=_rule("a scan sums all unlocks before it sums locks"),
        scenario="lookup-device-and-zap",
        checker="grace-period",
        parts=Parts(srcu=SumsLocksFirst),
        preemptions=3,
        unseen_in=("lookup-and-create",),
    ),
    Mutant(
        id="R5",
        title="the ranks are flipped before the first scan",
        step=Step.SRCU_FLIPS,
        why=(
            "Both scans then look at the rank that was current, and nobody at the"
            " other. A reader that counted itself in there after the last flip is"
            " missed."
        ),
        provenance=_rule("the flip comes between the scans, not before them"),
        scenario="lookup-and-delete",
        checker="grace-period",
        parts=Parts(srcu=FlipsFirst),
        preemptions=2,
        unseen_in=("lookup-and-create",),
    ),
    Mutant(
        id="R6",
        title="a scan looks at the counters of one processor",
        step=Step.SRCU_SUMS,
        why=(
            "A section is counted on the processor where it begins, and may end on"
            " another. Only the sums over all processors say whether anybody is inside."
        ),
        provenance=_rule("a scan sums over all processors"),
        scenario="lookup-on-another-cpu",
        checker="grace-period",
        parts=Parts(srcu=LooksAtOneCpu),
        preemptions=1,
        unseen_in=("lookup-and-create",),
    ),
    Mutant(
        id="R7",
        title="a reader is counted out in the rank that is current by then",
        step=Step.SRCU_UNLOCKS,
        why=(
            "If the index is flipped inside the section, one rank keeps a lock without"
            " an unlock, and the other has an unlock too many. Their sums never agree"
            " again, and every later grace period waits for ever."
        ),
        provenance=_rule("a section ends with the index that it began with"),
        scenario="lookup-and-create",
        checker="lost-wakeup",
        parts=Parts(srcu=LeavesTheCurrentRank),
        preemptions=1,
    ),
    Mutant(
        id="R8",
        title="a reader keeps to the rank of its first section",
        step=Step.SRCU_READS,
        why=(
            "After the flip its new sections still count where the grace period waits"
            " for old ones to end. Enough such readers hold it up for ever."
        ),
        provenance=_rule("each section reads the index anew"),
        scenario="four-guests-and-create",
        checker="starvation",
        parts=Parts(srcu=KeepsItsRank),
        preemptions=None,
        seeds=range(6),
        unseen_in=("two-lookups-and-delete",),
    ),
    Mutant(
        id="R9",
        title="a grace period that is under way already is enough",
        step=Step.SRCU_NUMBERS,
        why=(
            "It may have passed by a section that began after its scan, and before"
            " somebody asked. Only one that begins afterwards waits for all of them."
        ),
        provenance=_rule("whoever asks waits for a whole grace period"),
        scenario="lookup-and-two-devices",
        checker="grace-period",
        parts=Parts(srcu=TakesTheRunningOne),
        preemptions=3,
        unseen_in=("lookup-and-create", "lookup-and-delete"),
    ),
    Mutant(
        id="R12",
        title="an expedited grace period is none",
        step=Step.SWAP_SYNCHRONIZES,
        why=(
            "Updates of slots ask for grace periods in a hurry, which scan without"
            " pausing, but scan all the same. If the call returns at once, a set is"
            " edited under its readers."
        ),
        provenance=_rule("expedited is a grace period as any other, but for its delay"),
        scenario="lookup-and-create",
        checker="retired-set-quiet",
        parts=Parts(srcu=ExpeditesToNothing),
        preemptions=1,
    ),
    Mutant(
        id="R13",
        title="a rank has one counter, which readers count up and down",
        step=Step.SRCU_UNLOCKS,
        why=(
            "Reading, changing and writing a counter are two accesses, and another"
            " reader may come between them. One of both is not counted then, and the"
            " counter is 0 while he is inside."
        ),
        provenance=_rule("counters of their own, which only grow, for lock and unlock"),
        scenario="zap-and-flags",
        checker="grace-period",
        parts=Parts(srcu=CountsDown),
        preemptions=2,
    ),
)
