"""Every check of a request, and that none of them is idle; the rows are beside."""

from __future__ import annotations

import ast
import errno
import inspect
import itertools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import attrs
import pytest

from memslots import region as checks
from memslots.errors import MemoryRegionError
from memslots.region import Change, Region
from memslots.slot import GUEST_MEMFD, LOG_DIRTY_PAGES, READONLY, MemorySlot
from memslots.slot_set import Memslots
from memslots.units import PAGE_SIZE, Gpa, Hva
from memslots.update import Update
from memslots.vm import Vm
from rcu.errors import SimulatorBug
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.round_robin import RoundRobin
from tests.memslots.region_rows import MAX_PAGES, ROWS, TOP, Row, vm_for
from tests.memslots.world import (
    HVA,
    answer,
    assert_at_rest,
    content,
    region,
    run_writer,
)
from tests.support.running import run_controlled

SWAPS: dict[object, int] = {
    Change.CREATE: 1,
    Change.DELETE: 2,
    Change.MOVE: 2,
    Change.FLAGS_ONLY: 1,
}
FIRST_GENERATIONS = {1: 4, 2: 2 * 4 + 1}
"""Sum over the address spaces once the four slots are installed."""


@attrs.define
class Asked:
    """What became of a request."""

    vm: Vm
    before: list[object] = attrs.field(factory=list)
    outcome: object = "never answered"

    @property
    def generations(self) -> list[int]:
        return [self.vm.active(n).peek().generation for n in range(len(self.vm.sets))]

    def state(self) -> list[object]:
        """All that a refused request must leave as it was."""
        vm = self.vm
        return [
            *(content(slots) for pair in vm.sets for slots in pair),
            *(list(file.bindings) for file in vm.guest_memfds.values()),
            vm.nr_memslot_pages,
        ]


async def ask(pool: TaskPool, row: Row, make: Callable[[Vm], Update] = Update) -> Asked:
    """Make the request of a row; an unexpected error is an outcome, too."""

    def build(scheduler: Scheduler) -> Asked:
        asked = Asked(vm_for(row, scheduler))
        asked.before = asked.state()
        update = make(asked.vm)

        async def write() -> None:
            asked.outcome = await answer(update, row.request)

        scheduler.task("writer", write)
        return asked

    run = await run_controlled(pool, RoundRobin(), build)
    if run.report.error is not None:
        run.made.outcome = run.report.error
    return run.made


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row.number}: {row.title}") for row in ROWS]
)
async def test_the_answer_is_that_of_the_table(pool: TaskPool, row: Row) -> None:
    asked = await ask(pool, row)
    assert asked.outcome == row.outcome
    if not isinstance(row.outcome, Change):
        assert asked.state() == asked.before
    swaps = SWAPS.get(row.outcome, 2 if row.reverted else 0)
    assert sum(asked.generations) == FIRST_GENERATIONS[row.spaces] + swaps * row.spaces
    asked.vm.nr_memslot_pages -= row.extra_pages
    assert_at_rest(asked.vm)


def test_a_request_reads_as_what_was_passed() -> None:
    assert str(region(0x1_0003, flags=1)) == (
        "slot 3 of address space 1, gpa 0x10000, size 0x4000, hva 0x7f0000000000,"
        " flags 0x1"
    )


def test_a_refusal_reads_as_the_kernels_name_for_it() -> None:
    refusal = MemoryRegionError(errno.EEXIST, "met slot 2")
    assert str(refusal) == "EEXIST: met slot 2"
    assert (refusal.errno, refusal.result) == (errno.EEXIST, -errno.EEXIST)


# The first row that fails decides.


def repaired_one_by_one() -> Iterator[tuple[str, Region, str]]:
    """A request with all faults, then with one less each time."""
    request = Region(
        slot=0x1_9000,
        flags=GUEST_MEMFD | READONLY | 8,
        guest_phys_addr=Gpa(TOP - 1),
        memory_size=(MAX_PAGES + 1) * PAGE_SIZE + 1,
        userspace_addr=Hva(1),
        guest_memfd=-1,
        guest_memfd_offset=1,
    )
    repairs: list[tuple[str, str, dict[str, Any]]] = [
        ("2", "this ioctl knows only 0x1", {"v2": True}),
        ("3", "slot id must be below 32764, got 36864", {"slot": 0x1_0001}),
        ("5", "has bits outside", {"flags": GUEST_MEMFD}),
        ("6", "memory_size must", {"memory_size": (MAX_PAGES + 1) * PAGE_SIZE}),
        ("7", "guest_phys_addr must", {"guest_phys_addr": TOP - PAGE_SIZE}),
        ("8", "userspace_addr must", {"userspace_addr": 0}),
        ("9", "guest_memfd_offset must", {"guest_memfd_offset": 0}),
        ("10", "address space must be below 1, got 1", {"slot": 1}),
        ("11", "behind the last guest address", {"guest_phys_addr": 0x20000}),
        ("12", "at most 2147483647 pages", {"memory_size": 5 * PAGE_SIZE}),
        ("15", "guest_memfd slots cannot be changed", {"flags": READONLY}),
        ("16", "has userspace_addr 0x7f0000000000", {"userspace_addr": HVA}),
        ("16", "has 4 pages", {"memory_size": 4 * PAGE_SIZE}),
        ("16", "neither read-only nor guest_memfd", {"flags": 0}),
        ("18", "meets slot 2", {"guest_phys_addr": 1 << 52}),
        ("23", "gfn 0x10000000003 is too high", {}),
    ]
    for number, text, repair in repairs:
        yield number, request, text
        request = attrs.evolve(request, **repair)


@pytest.mark.parametrize(("number", "wanted", "text"), [*repaired_one_by_one()])
async def test_the_first_row_that_fails_decides(
    pool: TaskPool, number: str, wanted: Region, text: str
) -> None:
    refusals: list[MemoryRegionError] = []

    def build(scheduler: Scheduler) -> Update:
        return Update(vm_for(Row(number, "", wanted, None, arch=True), scheduler))

    async def write(update: Update) -> None:
        with pytest.raises(MemoryRegionError, match=text) as refused:
            await update.set_memory_region(wanted)
        refusals.append(refused.value)

    await run_writer(pool, write, build)
    assert refusals[0].errno == (errno.EEXIST if number == "18" else errno.EINVAL)
    assert refusals[0].result == -refusals[0].errno


# No check is idle: without it some row would have another answer.


def conditions(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """Each condition by which region.py refuses, and what makes it never refuse."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name("_refuse_unless"), [ast.BoolOp(values=parts), *_]):
                yield from ((part, "True") for part in parts)
            case ast.Call(ast.Name("_refuse_unless"), [condition, *_]):
                yield condition, "True"
            case ast.If(ast.BoolOp() as condition, [ast.Raise()]):
                yield condition, "False"


def damaged_sources() -> Iterator[tuple[str, str]]:
    """The source of region.py with one condition left out or off by one."""
    source = inspect.getsource(checks)
    for condition, idle in conditions(ast.parse(source)):
        text = ast.unparse(condition)
        yield f"without {text}", spliced(source, condition, idle)
        swapped = {" <= ": " < ", " < ": " <= "}
        for bound in [bound for bound in swapped if bound in text]:
            other = text.replace(bound, swapped[bound])
            yield f"with {other}", spliced(source, condition, other)


def spliced(source: str, node: ast.expr, text: str) -> str:
    """``source`` with ``text`` in the place of a node."""
    starts = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]
    begin = starts[node.lineno - 1] + node.col_offset
    end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
    return source[:begin] + text + source[end:]


async def some_answer_differs(
    pool: TaskPool, make: Callable[[Vm], Update] = Update
) -> bool:
    for row in ROWS:
        try:
            asked = await ask(pool, row, make)
        except SimulatorBug:
            return True
        if asked.outcome != row.outcome:
            return True
    return False


DAMAGED = dict(damaged_sources())


def test_no_condition_is_overlooked() -> None:
    assert len(DAMAGED) == 29


@pytest.mark.parametrize("damage", DAMAGED)
async def test_a_condition_is_missed_by_some_row(
    pool: TaskPool, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    module = ModuleType(checks.__name__)
    exec(DAMAGED[damage], vars(module))  # noqa: S102 - our own source
    vars(module)["Change"] = Change  # results are compared by it
    for name in ("check_before_lock", "check_request", "classify"):
        monkeypatch.setattr(f"memslots.update.{name}", getattr(module, name))
    assert await some_answer_differs(pool)


class NoOverlapCheck(Update):
    def check_overlap(self, active: Memslots, region: Region) -> None:
        pass


class OverlapOfNewSlotsOnly(Update):
    def check_overlap(self, active: Memslots, region: Region) -> None:
        if active.id_to_memslot(region.slot_id.id) is None:
            super().check_overlap(active, region)


class OverlapOfMovedSlotsOnly(Update):
    def check_overlap(self, active: Memslots, region: Region) -> None:
        if active.id_to_memslot(region.slot_id.id) is not None:
            super().check_overlap(active, region)


class OverlapWithItself(Update):
    def check_overlap(self, active: Memslots, region: Region) -> None:
        if active.overlaps(region.base_gfn, region.end_gfn, but_for=-1):
            raise MemoryRegionError(errno.EEXIST, "met something")


class OverlapAfterTheFile(Update):
    def bind_guest_memfd(self, new: MemorySlot, region: Region) -> None:
        super().bind_guest_memfd(new, region)
        super().check_overlap(self.vm.active(new.as_id).peek(), region)

    def check_overlap(self, active: Memslots, region: Region) -> None:
        pass


class TouchingIsOverlap(Update):
    def check_overlap(self, active: Memslots, region: Region) -> None:
        grown = attrs.evolve(region, memory_size=region.memory_size + PAGE_SIZE)
        super().check_overlap(active, grown)


class Undying(Update):
    def __init__(self, vm: Vm) -> None:
        super().__init__(vm)
        vm.dead = False


@pytest.mark.parametrize(
    "make",
    [
        NoOverlapCheck,
        OverlapOfNewSlotsOnly,
        OverlapOfMovedSlotsOnly,
        OverlapWithItself,
        OverlapAfterTheFile,
        TouchingIsOverlap,
        Undying,
    ],
)
async def test_a_damaged_update_is_noticed_by_some_row(
    pool: TaskPool, make: Callable[[Vm], Update]
) -> None:
    assert await some_answer_differs(pool, make)


async def test_undamaged_no_answer_differs(pool: TaskPool) -> None:
    assert not await some_answer_differs(pool)


# What may change about a slot that exists.


@pytest.mark.parametrize("flags", [0, LOG_DIRTY_PAGES, READONLY, 3])
@pytest.mark.parametrize("moved", [False, True])
async def test_only_place_and_logging_may_change(
    pool: TaskPool, flags: int, *, moved: bool
) -> None:
    for toggled, npages, hva in itertools.product(
        (0, LOG_DIRTY_PAGES, READONLY, 3), (4, 3, 5), (HVA, Hva(0))
    ):
        gfn = 0x100 if moved else 0x10
        wanted = region(1, gfn, npages, flags ^ toggled, hva)

        answers: list[object] = []

        def build(scheduler: Scheduler) -> Update:
            vm = Vm(scheduler)
            vm.install([region(flags=flags)])
            return Update(vm)

        async def write(
            update: Update, wanted: Region = wanted, answers: list[object] = answers
        ) -> None:
            answers.append(await answer(update, wanted))

        run = await run_writer(pool, write, build)
        assert_at_rest(run.made.vm)
        if toggled & READONLY or npages != 4 or hva != HVA:
            assert answers == [errno.EINVAL]
        elif moved:
            assert answers == [Change.MOVE]
        else:
            assert answers == [Change.FLAGS_ONLY if toggled else None]
