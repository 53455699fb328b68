"""What a scenario is about is caught in it, once it is broken."""

from __future__ import annotations

import attrs
import pytest

from memslots.slot import MemorySlot
from memslots.units import Gfn
from scenarios.machine import Parts
from scenarios.plan import Plan
from scenarios.planner import plan_for
from scenarios.runner import run
from vcpus.arch_x86 import ArchX86
from vcpus.shadow_mmu import ShadowMmu


class FlushesNothing(ArchX86):
    """Deletes and moves slots whose translations stay."""

    async def flush_shadow_memslot(self, slot: MemorySlot) -> None:
        """Leave page tables and TLBs as they are."""


class UnmapsNothing(ShadowMmu):
    """Lets the host change pages that are mapped."""

    async def unmap_gfn_range(self, slot: MemorySlot, start: Gfn, end: Gfn) -> bool:
        return False


class ProtectsNothing(ArchX86):
    """Has marks taken away and leaves their pages writable."""

    async def enable_log_dirty_pt_masked(
        self, slot: MemorySlot, offset: int, mask: int
    ) -> None:
        """Let the next write go unseen."""


def caught(plan: Plan, **parts: object) -> set[str]:
    """The checkers that a run of the plan violates, built of other parts."""
    result = run(attrs.evolve(plan, parts=Parts(**parts)))  # type: ignore[arg-type]
    return {each.checker for each in result.judgement.violations}


def with_memory_only(plan: Plan) -> Plan:
    """The plan with guests that must not meet a device, but in the hole itself."""
    first, *others = plan.scenario.vcpus
    vcpus = (attrs.evolve(first, mmio=False), *others)
    return attrs.evolve(plan, scenario=attrs.evolve(plan.scenario, vcpus=vcpus))


@pytest.mark.parametrize("name", ["move-in-use", "delete-in-use"])
def test_a_guest_reads_what_it_must_not_if_nothing_is_flushed(name: str) -> None:
    assert "guest-sees" in caught(plan_for(name), arch=FlushesNothing)


@pytest.mark.parametrize(
    "name", ["memslot-perf-map", "memslot-perf-unmap", "memslot-perf-unmap-2m"]
)
def test_a_page_that_is_given_back_and_stays_mapped_is_stale(name: str) -> None:
    assert "no-stale-translation" in caught(plan_for(name), mmu=UnmapsNothing)


@pytest.mark.parametrize(
    "name",
    [
        "dirty-log-get",
        "dirty-log-clear",
        "dirty-log-ring",
        "migration",
        "migration-manual",
        "migration-ring",
    ],
)
def test_a_write_is_lost_if_its_page_is_not_protected(name: str) -> None:
    assert caught(plan_for(name), arch=ProtectsNothing) == {"no-dirty-page-lost"}


def test_only_a_pause_hides_the_hole() -> None:
    assert caught(with_memory_only(plan_for("hole-punch"))) == {"guest-sees"}
    assert caught(with_memory_only(plan_for("hole-punch-paused"))) == set()
