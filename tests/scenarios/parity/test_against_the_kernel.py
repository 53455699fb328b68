"""The running kernel agrees with the model, and with no model that lacks a check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from memslots.update import Update
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from scenarios.parity.calls import SetRegion
from scenarios.parity.compare import Exchange, first_difference
from scenarios.parity.kernel import Kernel
from scenarios.parity.parity import Parity, Wanted, answers, model_of
from tests.scenarios.parity.conftest import CALLS
from tests.scenarios.parity.damage import (
    DAMAGED_LOG_CHECKS,
    DAMAGED_REGION_CHECKS,
    METHODS,
    found_in,
    leave_out_log_check,
    leave_out_region_check,
)

pytestmark = pytest.mark.slow

Answered = list[list[Exchange]]

SLOT_LIMIT = "no id passes the check of the ids of user space and fails here"
PAGE_COUNT = "the page count is right: it can neither be too low nor overflow"
ALL_PAGES = "the largest slot takes a kernel without two-dimensional paging 16 GiB"
NO_VCPU = "no VM has a vCPU here"
BITMAP = "whoever sets a bit has looked for the bitmap before"
NOT_DYING = "no VM is being destroyed while it is asked"
UNSEEN: dict[str, str] = {
    "without slot_id < profile.mem_slots_num": SLOT_LIMIT,
    "with slot_id <= profile.mem_slots_num": SLOT_LIMIT,
    "without old is not None and nr_memslot_pages < old.npages": PAGE_COUNT,
    "without nr_memslot_pages + region.npages < U64": PAGE_COUNT,
    "with nr_memslot_pages + region.npages <= U64": PAGE_COUNT,
    "with region.npages < profile.mem_max_nr_pages": ALL_PAGES,
    "dirty_tracking: self._created_vcpus": NO_VCPU,
    "dirty_tracking: self.vm.dead": NOT_DYING,
    "dirty_tracking: bitmap is None": BITMAP,
}
"""What no call can show, and why."""


def seen(damages: Iterable[str]) -> list[str]:
    return [damage for damage in damages if damage not in UNSEEN]


async def test_the_model_answers_as_the_kernel_did(
    pool: TaskPool, kernel: Kernel, answered: Answered
) -> None:
    assert await found_in(pool, model_of(kernel.features), answered) is None


def test_the_calls_are_worth_the_name(answered: Answered) -> None:
    flat = [exchange for exchanges in answered for exchange in exchanges]
    assert len(flat) == CALLS
    assert len(answered) == 3
    succeeded = sum(each.kernel.result >= 0 for each in flat)
    assert 0.45 * CALLS < succeeded < 0.6 * CALLS
    kinds = Counter(type(each.call).__name__ for each in flat)
    assert set(kinds) == {
        "SetRegion",
        "GetDirtyLog",
        "ClearDirtyLog",
        "EnableCap",
        "ResetRings",
    }
    assert kinds["SetRegion"] > 0.75 * CALLS
    with_bits = sum(any(each.kernel.bitmap) for each in flat)
    assert with_bits > 40


@pytest.mark.parametrize(
    "damage", [each for each in DAMAGED_REGION_CHECKS if each not in UNSEEN]
)
async def test_a_missing_region_check_is_found(
    pool: TaskPool,
    kernel: Kernel,
    answered: Answered,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    leave_out_region_check(monkeypatch, damage)
    assert await found_in(pool, model_of(kernel.features), answered) is not None


@pytest.mark.parametrize(
    "damage", [each for each in DAMAGED_LOG_CHECKS if each not in UNSEEN]
)
async def test_a_missing_dirty_log_check_is_found(
    pool: TaskPool,
    kernel: Kernel,
    answered: Answered,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    leave_out_log_check(monkeypatch, damage)
    assert await found_in(pool, model_of(kernel.features), answered) is not None


@pytest.mark.parametrize("name", METHODS)
async def test_an_update_without_a_check_is_found(
    pool: TaskPool, kernel: Kernel, answered: Answered, name: str
) -> None:
    whole = model_of(kernel.features)

    def make(scheduler: Scheduler) -> Update:
        return METHODS[name](whole(scheduler).vm)

    assert await found_in(pool, make, answered) is not None


def test_everything_that_cannot_be_seen_is_a_check() -> None:
    assert set(UNSEEN) <= {*DAMAGED_REGION_CHECKS, *DAMAGED_LOG_CHECKS}


async def test_a_difference_is_shrunk_to_what_shows_it(
    pool: TaskPool, kernel: Kernel
) -> None:
    whole = model_of(kernel.features)

    def make(scheduler: Scheduler) -> Update:
        return METHODS["TouchingIsOverlap"](whole(scheduler).vm)

    parity = Parity(kernel, Wanted(calls=CALLS), make=make)
    tally = await parity.run(pool)
    assert tally.found is not None
    assert tally.shortest is not None
    first, second = tally.shortest.calls
    assert isinstance(first, SetRegion)
    assert isinstance(second, SetRegion)
    assert first.region is not None
    assert second.region is not None
    assert second.region.end_gfn == first.region.base_gfn
    with kernel.create_vm() as vm:
        again = await first_difference(pool, make, answers(vm, tally.shortest.calls))
    assert again == tally.shortest


def test_the_kernel_says_what_it_can_do(kernel: Kernel) -> None:
    profile = kernel.features.profile
    assert profile.name.startswith("x86_64, Linux ")
    assert profile.user_mem_slots >= 32
    assert profile.user_address_end in {0x7FFF_FFFF_F000, 0xFF_FFFF_FFFF_F000}
    assert profile.max_gfn.bit_count() == profile.max_gfn.bit_length() >= 20
    assert kernel.features.address_space_count in {1, 2}


def test_vms_leave_nothing_behind(kernel: Kernel) -> None:
    def open_files() -> int:
        return len([*Path("/proc/self/fd").iterdir()])

    before = open_files()
    for _ in range(3):
        with kernel.create_vm() as vm:
            assert open_files() > before
            assert vm.answer(SetRegion(None)).result < 0
    assert open_files() == before
