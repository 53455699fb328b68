"""A digest of the model: another one may go another way in the same order."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

ROOMS = ("rcu", "memslots", "vcpus", "scenarios/checkers")
"""Folders of which every module counts."""

MODULES = (
    "calls",
    "explorer/delete_under_srcu",
    "kinds",
    "kvm_thread",
    "machine",
    "pace",
    "pause",
    "scenario",
    "trace_order",
    "trace_plan",
    "tracepoints",
    "traces/overlap",
)
"""Modules of this room that say what tasks do."""


@cache
def model_digest() -> str:
    """SHA-256 of the sources that decide what a step does and what is broken.

    Cost: 5 ms, once.
    """
    root = Path(__file__).parents[1]
    paths = [path for room in ROOMS for path in (root / room).rglob("*.py")]
    paths += [root / "scenarios" / f"{name}.py" for name in MODULES]
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
