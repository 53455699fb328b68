"""The program that a plan means: what a run builds, and what a search searches."""

from __future__ import annotations

import hashlib

from scenarios.explorer.delete_under_srcu import DeleteUnderSrcu
from scenarios.explorer.machine_program import MachineProgram
from scenarios.explorer.program import Program
from scenarios.model_digest import model_digest
from scenarios.plan import Plan
from scenarios.scenario import ProtocolName

_PROTOCOLS = {ProtocolName.DELETE_UNDER_SRCU: DeleteUnderSrcu}


def program_of(plan: Plan, *, judged: bool = True) -> Program:
    """The program of a plan.

    Args:
        plan: What is run.
        judged: Whether the program brings checkers who watch; a protocol judges itself.
    """
    protocol = plan.scenario.protocol
    if protocol is None:
        return MachineProgram(plan, judged=judged)
    program = _PROTOCOLS[protocol.name](protocol.readers, plan.scenario.budget)
    program.name = plan.scenario.name
    program.digest = plan.digest
    return program


def identity(plan: Plan) -> str:
    """Changes when the tasks of a plan may do something else, or the model does."""
    parts = (plan.digest, plan.vm, plan.scenario.vcpu_count, plan.memslots)
    text = "\0".join(map(str, (*parts, model_digest())))
    return hashlib.sha256(text.encode()).hexdigest()
