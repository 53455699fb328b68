"""What is to be run, and how; made without anything that runs it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import attrs

from scenarios.machine import Parts, Work
from scenarios.scenario import Scenario
from scenarios.trace_account import TraceAccount


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be run, and how.

    Attributes:
        scenario: What there is.
        work: What its writers do; by default what the scenario says.
        source: Name of the scenario, or path of the file it was read from.
        digest: SHA-256 of what it was read from.
        vm: Which VM of a trace; empty for the only one.
        account: What became of the other lines of a trace; None if it is none.
        strategy: Name of the strategy.
        seed: Where it starts.
        mode: ``controlled`` or ``trio``.
        memslots: How the VM keeps its slots, ``tree`` or ``array``; see
            `scenarios.kinds`.
        parts: Of which classes the machine is built.
        mutant: What is broken on purpose in them; empty if nothing is.
        schedule: SHA-256 of the schedule whose order it follows; empty if strategy and
            seed say the order.
    """

    scenario: Scenario
    work: Work | None = None
    source: str = ""
    digest: str = ""
    vm: str = ""
    account: TraceAccount | None = None
    strategy: str = "random"
    seed: int = 0
    mode: str = "controlled"
    memslots: Literal["tree", "array"] = "tree"
    parts: Parts = attrs.field(factory=Parts)
    mutant: str = ""
    schedule: str = ""


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
