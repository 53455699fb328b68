"""Runs that leave a log."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import attrs

from scenarios.logbook.schema import CHECKSUM
from scenarios.logbook.writer import LogWriter
from scenarios.machine import Parts
from scenarios.planner import plan_for
from scenarios.runner import Plan, RunResult, run
from tests.protocol import broken_parts as broken
from tests.protocol.small_scenarios import small_scenarios

Line = dict[str, Any]


def logged(plan: Plan, path: Path, order: list[int] | None = None) -> RunResult:
    """Run a plan and leave its log at ``path``."""
    return run(plan, log=LogWriter(path), order=order)


def lines_of(path: Path) -> list[Line]:
    """The lines of a log as JSON sees them."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def write_lines(path: Path, lines: list[Line]) -> None:
    """Write lines as a log has them."""
    path.write_bytes(as_bytes(lines))


def as_bytes(lines: list[Line]) -> bytes:
    """Lines as a log has them; if the last has a checksum, it is theirs."""
    data = b"".join(map(_line, lines))
    if lines and "crc32" in lines[-1]:
        head, between, _ = data.rpartition(CHECKSUM)
        data = b"%b%b%d}\n" % (head, between, zlib.crc32(head))
    return data


def _line(line: Line) -> bytes:
    text = json.dumps(line, separators=(",", ":"), ensure_ascii=False)
    return f"{text}\n".encode(errors="surrogatepass")


def plans() -> dict[str, Plan]:
    """Runs with every verdict and every ending but an interrupted one, by name."""
    swap = plan_for("dual-set-swap")
    small = Plan(scenario=small_scenarios()["first-shadow-root"])
    keeps_lock = attrs.evolve(small, parts=Parts(update=broken.KeepsArchLock))
    short = attrs.evolve(swap.scenario, budget=1_000)
    endless = attrs.evolve(swap, scenario=short)
    return {
        "holds": swap,
        "holds in a trace": plan_for("q35-boot", vcpus=2),
        "holds in a small scenario": small,
        "violation": attrs.evolve(swap, parts=Parts(update=broken.WaitsForNobody)),
        "a task fails": attrs.evolve(
            swap, parts=Parts(faults=broken.FaultsOutsideTheSection)
        ),
        "deadlock": attrs.evolve(keeps_lock, seed=5),
        "budget": endless,
        "trio decides": attrs.evolve(swap, mode="trio"),
    }
