"""What readers do counts, too: who leaves a step out is caught, and by whom."""

from __future__ import annotations

import attrs
import pytest

from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from scenarios.checkers.judge import Verdict
from scenarios.machine import Parts
from scenarios.runner import Plan, RunResult, run_in_trio
from tests.protocol import broken_readers as broken
from tests.protocol.broken_readers import logging_by
from tests.protocol.reader_scenarios import reader_scenarios

ENOUGH = 300
"""Seeds after which a search gives up."""

BUDGET = 20_000
"""Steps after which a run is stopped: whole ones make a tenth of it."""


@attrs.frozen(kw_only=True)
class Case:
    """Something broken.

    Attributes:
        name: What is wrong with it.
        parts: Of what a machine is built that is broken in this way.
        scenario: Where it shows.
        checker: Who catches it.
        found_at: The first seed at which it does.
        seen: A piece of what it says then.
    """

    name: str
    parts: Parts
    scenario: str
    checker: str
    found_at: int
    seen: str


CASES = (
    # INVALID is seen.
    Case(
        name="a slot is moved at once",
        parts=Parts(update=broken.MovesAtOnce),
        scenario="moved",
        checker="invalid-is-seen",
        found_at=0,
        seen="slot 1 #2 (0x10..0x11) became slot 1 #3 (0x11..0x12) in the active set",
    ),
    Case(
        name="a slot is flushed before its readers have left",
        parts=Parts(update=broken.FlushesBeforeReadersLeave),
        scenario="moved",
        checker="invalid-is-seen",
        found_at=0,
        seen="slot 1 #2 (0x10..0x11) was flushed before a grace period was over",
    ),
    Case(
        name="the INVALID copy is flushed",
        parts=Parts(update=broken.FlushesTheInvalidCopy),
        scenario="moved",
        checker="invalid-is-seen",
        found_at=0,
        seen="slot 1 #2 (0x10..0x11) is gone and was not flushed",
    ),
    Case(
        name="nothing is flushed",
        parts=Parts(arch=broken.FlushesNothing),
        scenario="moved",
        checker="invalid-is-seen",
        found_at=0,
        seen="slot 1 #2 (0x10..0x11) is gone and was not flushed",
    ),
    # No stale translation.
    Case(
        name="a reader from before maps what has been flushed",
        parts=Parts(update=broken.FlushesBeforeReadersLeave),
        scenario="zapped-by-slot",
        checker="no-stale-translation",
        found_at=0,
        seen=" was mapped to 0x7f0000100000 through slot #7, which hotplug flushed in",
    ),
    Case(
        name="an obsolete root is mapped into",
        parts=Parts(faults=broken.MapsIntoObsoleteRoots),
        scenario="unmapped-beside",
        checker="no-stale-translation",
        found_at=0,
        seen="gfn 0x0 in root 0 was mapped to 0x7f0000000000, but hotplug gave the",
    ),
    Case(
        name="a root is reclaimed after it was found valid",
        parts=Parts(faults=broken.ReclaimsAfterItHasAsked),
        scenario="nested",
        checker="no-stale-translation",
        found_at=0,
        seen="gfn 0x1 in root 0 was mapped to 0x7f0000001000, but vcpu0 gave the root",
    ),
    Case(
        name="an INVALID slot is mapped",
        parts=Parts(faults=broken.MapsInvalidSlots),
        scenario="moved",
        checker="no-stale-translation",
        found_at=0,
        seen=" through slot #5, which is an INVALID copy",
    ),
    Case(
        name="what was made from a slot's forerunner is not flushed",
        parts=Parts(mmu=broken.FindsBySlotObject),
        scenario="logged-and-moved",
        checker="no-stale-translation",
        found_at=0,
        seen="slot #2 was flushed, but gfn 0x0 in root 0 is still mapped to",
    ),
    Case(
        name="TLBs are not flushed",
        parts=Parts(mmu=broken.ForgetsTheTlbs),
        scenario="zapped-by-slot",
        checker="no-stale-translation",
        found_at=0,
        seen="the guest wrote 0x10000 at 0x7f0000100000 through slot #2, which hotplug",
    ),
    Case(
        name="invalidations are ignored",
        parts=Parts(mmu=broken.IgnoresInvalidations),
        scenario="unmapped",
        checker="no-stale-translation",
        found_at=3,
        seen="was mapped to 0x7f0000000000 although the invalidation of 0x7f0000000000",
    ),
    Case(
        name="gfns are passed for host addresses",
        parts=Parts(mmu=broken.PassesGfns),
        scenario="zapped-range",
        checker="no-stale-translation",
        found_at=0,
        seen="gfn 0x0..0x2 has been zapped, but gfn 0x0 in root 0 is still mapped",
    ),
    Case(
        name="page tables are zapped later",
        parts=Parts(arch=broken.ZapsLater),
        scenario="moved",
        checker="no-stale-translation",
        found_at=0,
        seen="slot #2 was flushed, but gfn 0x10 in root 0 is still mapped",
    ),
    Case(
        name="INVALID slots are not unmapped",
        parts=Parts(mmu=broken.SkipsInvalidSlots),
        scenario="unmapped",
        checker="no-stale-translation",
        found_at=0,
        seen="0x7f0000100000..0x7f0000101000 has begun, but gfn 0x10 in root 0 is",
    ),
    # MMIO caches.
    Case(
        name="a vCPU's MMIO cache has no generation",
        parts=Parts(mmio=broken.HitsInAnyGeneration),
        scenario="hole",
        checker="mmio-cache-fresh",
        found_at=0,
        seen="(found in vcpu), but set 0, which it holds, has slot 1 #3 there",
    ),
    Case(
        name="MMIO is remembered during an update",
        parts=Parts(mmio=broken.RemembersInFlux),
        scenario="hole",
        checker="mmio-cache-fresh",
        found_at=0,
        seen="(found in vcpu), but set 0, which it holds, has slot 1 #3 there",
    ),
    Case(
        name="the generation is that of address space 0",
        parts=Parts(mmio=broken.LooksAtAddressSpaceZero),
        scenario="holes-of-two-spaces",
        checker="mmio-cache-fresh",
        found_at=0,
        seen="vcpu0 took gfn 0x10 of address space 1 for a page without a slot",
    ),
    Case(
        name="the generation counts once",
        parts=Parts(update=broken.CountsOnce),
        scenario="hole",
        checker="mmio-cache-fresh",
        found_at=0,
        seen="(found in spte), but set 1, which it holds, has slot 1 #1 there",
    ),
    Case(
        name="old MMIO entries outlive a wrap",
        parts=Parts(mmio=broken.NeverWraps),
        scenario="wrapped",
        checker="mmio-cache-fresh",
        found_at=5,
        seen="(found in spte), but set 0, which it holds, has slot 1 #16 there",
    ),
    Case(
        name="a wrap that skips 0 is not seen",
        parts=Parts(mmio=broken.WrapsAtZeroOnly),
        scenario="wrapped-in-space-1",
        checker="mmio-cache-fresh",
        found_at=5,
        seen="(found in spte), but set 0, which it holds, has slot 1 #16 there",
    ),
    # The notifier.
    Case(
        name="a swap does not wait for invalidations",
        parts=Parts(update=broken.PublishesAtOnce),
        scenario="renotified",
        checker="notifier-balanced",
        found_at=0,
        seen="set 0 of address space 0 was published during the invalidation of",
    ),
    Case(
        name="a set is published outside the lock",
        parts=Parts(update=broken.PublishesOutsideTheLock),
        scenario="renotified",
        checker="notifier-balanced",
        found_at=2,
        seen="set 1 of address space 0 was published during the invalidation of",
    ),
    Case(
        name="an invalidation is counted for ever",
        parts=Parts(notifier=broken.NeverCountsDown),
        scenario="renotified",
        checker="notifier-balanced",
        found_at=0,
        seen="mmu_invalidate_in_progress is 1 after the invalidation of 0x7f0000100000",
    ),
    # The dirty log.
    Case(
        name="KVM's own writes are not marked",
        parts=Parts(memory=broken.WritesUnseen),
        scenario="got",
        checker="no-dirty-page-lost",
        found_at=2,
        seen="wrote page 1 of slot 0 of address space 0 in step 139, but it had no",
    ),
    Case(
        name="what a fault makes writable is not marked",
        parts=Parts(faults=broken.FixesUnseen),
        scenario="got",
        checker="no-dirty-page-lost",
        found_at=0,
        seen="wrote page 0 of slot 0 of address space 0 in step 111, but it had no",
    ),
    Case(
        name="logging is switched on without a flush",
        parts=Parts(arch=broken.LogsWithoutFlush),
        scenario="switched-on",
        checker="no-dirty-page-lost",
        found_at=0,
        seen="wrote page 1 of slot 0 of address space 0 in step 209, but it had no",
    ),
    Case(
        name="a get returns without a flush",
        parts=Parts(arch=broken.ReturnsWithoutFlush),
        scenario="got",
        checker="no-dirty-page-lost",
        found_at=0,
        seen="but it had no mark, and whoever could have marked it since has not",
    ),
    Case(
        name="a clear returns without a flush",
        parts=Parts(arch=broken.ReturnsWithoutFlush),
        scenario="got-and-cleared",
        checker="no-dirty-page-lost",
        found_at=0,
        seen="but it had no mark, and whoever could have marked it since has not",
    ),
    Case(
        name="a reset returns without a flush",
        parts=Parts(arch=broken.ReturnsWithoutFlush),
        scenario="reset",
        checker="no-dirty-page-lost",
        found_at=6,
        seen="but it had no mark, and whoever could have marked it since has not",
    ),
    Case(
        name="a get protects nothing",
        parts=Parts(arch=broken.ProtectsNothing),
        scenario="got",
        checker="no-dirty-page-lost",
        found_at=0,
        seen="but it had no mark, and whoever could have marked it since has not",
    ),
    Case(
        name="a clear of what was set at first protects nothing",
        parts=Parts(arch=broken.ProtectsNothing),
        scenario="set-and-cleared",
        checker="no-dirty-page-lost",
        found_at=0,
        seen="but it had no mark, and whoever could have marked it since has not",
    ),
    Case(
        name="a reset protects nothing",
        parts=Parts(arch=broken.ProtectsNothing),
        scenario="reset",
        checker="no-dirty-page-lost",
        found_at=6,
        seen="but it had no mark, and whoever could have marked it since has not",
    ),
    Case(
        name="a get copies before it clears",
        parts=logging_by(broken.CopiesBeforeItTakes),
        scenario="got",
        checker="no-dirty-page-lost",
        found_at=0,
        seen="but call 2, a get that began in step 45, took its mark and did not tell",
    ),
    Case(
        name="a get protects before it clears",
        parts=logging_by(broken.ProtectsBeforeItTakes),
        scenario="got",
        checker="no-dirty-page-lost",
        found_at=12,
        seen="but it had no mark, and whoever could have marked it since has not",
    ),
    Case(
        name="a get tells of the first page only",
        parts=logging_by(broken.TellsOfTheFirstPageOnly),
        scenario="got-and-cleared",
        checker="no-dirty-page-lost",
        found_at=3,
        seen="but call 5, a get that began in step 113, did not tell of its mark",
    ),
    Case(
        name="a reset leaves out the last entries",
        parts=logging_by(broken.LeavesTheLastBatchOut),
        scenario="reset",
        checker="no-dirty-page-lost",
        found_at=0,
        seen="but it had no mark, and whoever could have marked it since has not",
    ),
)


def plan_of(scenario: str, parts: Parts | None = None) -> Plan:
    bounded = attrs.evolve(reader_scenarios()[scenario], budget=BUDGET)
    return Plan(scenario=bounded, parts=parts or Parts())


def seen_by(result: RunResult, checker: str) -> str:
    """What a checker says, all in one."""
    violations = result.judgement.violations
    return "\n".join(each.seen for each in violations if each.checker == checker)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_broken_reader_is_caught(pool: TaskPool, case: Case) -> None:
    plan = plan_of(case.scenario, case.parts)
    for seed in range(ENOUGH):
        result = await run_in_trio(attrs.evolve(plan, seed=seed), pool)
        if seen := seen_by(result, case.checker):
            assert seed == case.found_at
            assert case.seen in seen
            return
    pytest.fail(f"{case.checker} caught nothing in {ENOUGH} seeds")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_was_seen_happens_again(pool: TaskPool, case: Case) -> None:
    plan = attrs.evolve(plan_of(case.scenario, case.parts), seed=case.found_at)
    first = await run_in_trio(plan, pool)
    replayed = await run_in_trio(plan, pool, order=list(first.order))
    assert replayed.judgement == first.judgement
    assert seen_by(first, case.checker)


async def whole_ones_hold(pool: TaskPool, scenario: str, seeds: range) -> None:
    plan = plan_of(scenario)
    for seed in seeds:
        result = await run_in_trio(attrs.evolve(plan, seed=seed), pool)
        assert result.judgement.violations == ()
        assert result.judgement.verdict is Verdict.HOLDS
        assert result.report.ending is Ending.COMPLETED
        assert result.report.steps < BUDGET / 4


@pytest.mark.parametrize("scenario", reader_scenarios())
async def test_whole_readers_survive_the_seeds_at_which_broken_ones_fail(
    pool: TaskPool, scenario: str
) -> None:
    found_at = [case.found_at for case in CASES if case.scenario == scenario]
    await whole_ones_hold(pool, scenario, range(max(found_at) + 1))


@pytest.mark.slow
@pytest.mark.parametrize("scenario", reader_scenarios())
async def test_whole_readers_survive_fifty_seeds(pool: TaskPool, scenario: str) -> None:
    await whole_ones_hold(pool, scenario, range(50))


@pytest.mark.parametrize("scenario", reader_scenarios())
async def test_whole_readers_survive_the_orders_of_trio(
    pool: TaskPool, scenario: str
) -> None:
    plan = attrs.evolve(plan_of(scenario), mode="trio")
    assert (await run_in_trio(plan, pool)).judgement.violations == ()
