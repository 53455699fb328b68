"""Models with one check left out, made from their sources."""

from __future__ import annotations

import ast
import errno
import inspect
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import attrs
import pytest

from memslots import dirty_log, dirty_reset, dirty_tracking
from memslots import region as checks
from memslots.errors import MemoryRegionError
from memslots.region import Change, Region
from memslots.slot import GUEST_MEMFD, MemorySlot
from memslots.slot_set import Memslots
from memslots.units import PAGE_SIZE
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.pool import TaskPool
from scenarios.parity.compare import Difference, Exchange, first_difference
from scenarios.parity.model import MakeUpdate
from tests.memslots.test_region_checks import DAMAGED as DAMAGED_REGION_CHECKS
from tests.memslots.test_region_checks import spliced

__all__ = ["DAMAGED_REGION_CHECKS"]


@attrs.frozen
class Found:
    """Where a difference was found.

    Attributes:
        calls: How many calls had been made by then, on all VMs.
        difference: Which.
    """

    calls: int
    difference: Difference


async def found_in(
    pool: TaskPool, make: MakeUpdate, answered: Sequence[Sequence[Exchange]]
) -> Found | None:
    """Whether a model answers any call to any VM differently."""
    calls = 0
    for exchanges in answered:
        difference = await first_difference(pool, make, exchanges)
        if difference is not None:
            return Found(calls + len(difference.exchanges), difference)
        calls += len(exchanges)
    return None


# Checks of region.py.


def leave_out_region_check(patch: pytest.MonkeyPatch, damage: str) -> None:
    """Let updates use region.py with one condition damaged."""
    module = ModuleType(checks.__name__)
    exec(DAMAGED_REGION_CHECKS[damage], vars(module))  # noqa: S102 - our own source
    vars(module)["Change"] = Change  # results are compared by it
    for name in ("check_before_lock", "check_request", "classify"):
        patch.setattr(f"memslots.update.{name}", getattr(module, name))


# Checks of the dirty log.

MODULES = (dirty_tracking, dirty_log, dirty_reset)
"""From the base class to the derived one."""


def refusals(tree: ast.Module) -> Iterator[ast.expr]:
    """Each condition by which a module refuses, or each half of it."""
    for node in ast.walk(tree):
        match node:
            case ast.If(test, [ast.Raise()]) | ast.If(
                test, [ast.Expr(ast.Call(ast.Name("refuse")))]
            ):
                halves = isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or)
                yield from test.values if halves else [test]  # type: ignore[attr-defined]


def damaged_log_sources() -> Iterator[tuple[str, ModuleType, str]]:
    for module in MODULES:
        source = inspect.getsource(module)
        for condition in refusals(ast.parse(source)):
            name = f"{module.__name__.rpartition('.')[2]}: {ast.unparse(condition)}"
            yield name, module, spliced(source, condition, "False")


DAMAGED_LOG_CHECKS = {
    name: (module, source) for name, module, source in damaged_log_sources()
}


def leave_out_log_check(patch: pytest.MonkeyPatch, damage: str) -> None:
    """Give the class of a module the methods of its damaged twin."""
    original, source = DAMAGED_LOG_CHECKS[damage]
    module = ModuleType(original.__name__)
    exec(source, vars(module))  # noqa: S102 - our own source
    for name, twin in vars(module).items():
        real = getattr(original, name, None)
        if not inspect.isclass(real) or real.__module__ != original.__name__:
            continue
        for method, function in vars(twin).items():
            if inspect.isfunction(function):
                patch.setattr(real, method, function)


# Checks that are methods of their own.


class NoOverlapCheck(Update):
    def check_overlap(self, active: Memslots, region: Region) -> None:
        pass


class OverlapOfNewSlotsOnly(Update):
    def check_overlap(self, active: Memslots, region: Region) -> None:
        if active.id_to_memslot(region.slot_id.id) is None:
            super().check_overlap(active, region)


class OverlapWithItself(Update):
    def check_overlap(self, active: Memslots, region: Region) -> None:
        if active.overlaps(region.base_gfn, region.end_gfn, but_for=-1):
            raise MemoryRegionError(errno.EEXIST, "met something")


class TouchingIsOverlap(Update):
    def check_overlap(self, active: Memslots, region: Region) -> None:
        grown = attrs.evolve(region, memory_size=region.memory_size + PAGE_SIZE)
        super().check_overlap(active, grown)


class OverlapAfterTheFile(Update):
    def bind_guest_memfd(self, new: MemorySlot, region: Region) -> None:
        super().bind_guest_memfd(new, region)
        super().check_overlap(self.vm.active(new.as_id).peek(), region)

    def check_overlap(self, active: Memslots, region: Region) -> None:
        pass


class NoHighestGfn(Update):
    def __init__(self, vm: Vm) -> None:
        vm.profile = attrs.evolve(vm.profile, max_gfn=1 << 60)
        super().__init__(vm)


class AnyDescriptor(Update):
    def bind_guest_memfd(self, new: MemorySlot, region: Region) -> None:
        if region.flags & GUEST_MEMFD and region.guest_memfd in self.vm.guest_memfds:
            super().bind_guest_memfd(new, region)


class EndlessFiles(Update):
    def bind_guest_memfd(self, new: MemorySlot, region: Region) -> None:
        for file in self.vm.guest_memfds.values():
            file.size_bytes = 1 << 70
        super().bind_guest_memfd(new, region)


class SharedFiles(Update):
    def bind_guest_memfd(self, new: MemorySlot, region: Region) -> None:
        file = self.vm.guest_memfds.get(region.guest_memfd)
        if file is None:
            super().bind_guest_memfd(new, region)
            return
        bindings, file.bindings = file.bindings, []
        super().bind_guest_memfd(new, region)
        file.bindings += bindings


class ReadsNothing(Update):
    """Takes what cannot be read for a request to do nothing."""

    async def set_memory_region(
        self, region: Region | None, *, call: int | None = None
    ) -> Change | None:
        if region is None:
            return None
        return await super().set_memory_region(region, call=call)


METHODS: dict[str, Callable[[Vm], Update]] = {
    kind.__name__: kind
    for kind in (
        NoOverlapCheck,
        OverlapOfNewSlotsOnly,
        OverlapWithItself,
        TouchingIsOverlap,
        OverlapAfterTheFile,
        NoHighestGfn,
        AnyDescriptor,
        EndlessFiles,
        SharedFiles,
        ReadsNothing,
    )
}
