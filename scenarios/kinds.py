"""How a VM keeps its slots: in trees, or in arrays, as before the trees."""

from __future__ import annotations

from typing import Literal

import attrs

from memslots.arrays.array_update import ArrayUpdate
from memslots.arrays.array_vm import ArrayVm
from memslots.update import Update
from memslots.vm import Vm
from scenarios.errors import InputError
from scenarios.machine import Parts
from scenarios.plan import Plan

MemslotsKind = Literal["tree", "array"]


def with_memslots(plan: Plan, kind: MemslotsKind) -> Plan:
    """The plan of the same run with slots in ``kind``.

    Raises:
        InputError: The plan has an update or a VM of its own, made for trees; or it
            has none at all.
    """
    if kind == "tree":
        return plan
    if plan.scenario.protocol is not None:
        raise InputError(
            f"--memslots {kind}: {plan.source} is a protocol without a VM; leave it out"
        )
    parts = attrs.evolve(
        plan.parts,
        vm=_for_arrays(plan.parts, "vm", Vm, ArrayVm),
        update=_for_arrays(plan.parts, "update", Update, ArrayUpdate),
    )
    return attrs.evolve(plan, memslots=kind, parts=parts)


def _for_arrays(parts: Parts, name: str, usual: type, wanted: type) -> type:
    """The part for arrays, unless there is one already."""
    part = getattr(parts, name)
    if part is usual:
        return wanted
    if isinstance(part, type) and issubclass(part, wanted):
        return part
    raise InputError(
        f"--memslots array: the part {name} is {getattr(part, '__name__', part)}, made"
        f" for trees; make it a subclass of {wanted.__name__}"
    )
