"""Prints what logs cost: to write, to judge, to ask, to draw, and in memory.

``python benchmarks/logs.py [--quick]``; quick: a log of a million events in place of
ten million. Seconds are of the processor, so that a busy machine disturbs less.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time

import attrs

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import in_turn, middle, show, spread
from scenarios.cli.check import COLLECT_AFTER
from scenarios.logbook.check import check_log
from scenarios.logbook.reader import LogReader
from scenarios.logbook.writer import LogWriter
from scenarios.plan import Plan
from scenarios.planner import plan_for
from scenarios.runner import run as run_plan

QUICK = "--quick" in sys.argv
ROUNDS = 5 if QUICK else 15
MILLIONS = 1 if QUICK else 10
READERS = 20
"""Read sections beside each update of the made-up log."""

PEAK_OF = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime)
"""

Lines = Iterator[str]


def seconds(work: Callable[[], object], units: int = 1) -> float:
    """Seconds of the processor for one unit of ``work``."""
    started = process_time()
    work()
    return (process_time() - started) / units


def long_plan(times: int) -> Plan:
    """A full scenario whose writers go on for longer."""
    plan = plan_for("dual-set-swap")
    writers = [attrs.evolve(each, repeat=times) for each in plan.scenario.writers]
    scenario = attrs.evolve(plan.scenario, writers=tuple(writers), budget=50_000_000)
    return attrs.evolve(plan, scenario=scenario)


def writing(folder: Path) -> None:
    """Runs with a log against runs without."""
    print("Writing")
    path = folder / "run.jsonl"
    for name in ("dual-set-swap", "q35-boot", "migration"):
        plan = plan_for(name)
        results = in_turn(
            {
                "off": lambda plan=plan: seconds(lambda: run_plan(plan)),  # type: ignore[misc]
                "on": lambda plan=plan: seconds(  # type: ignore[misc]
                    lambda: run_plan(plan, log=LogWriter(path))
                ),
            },
            ROUNDS,
        )
        off, on = middle(results["off"]), middle(results["on"])
        show(
            f"{name}, log on",
            f"{on * 1e3:.0f} ms",
            f"x{on / off:.2f} of log off",
            "<= x3, aim x2",
            spread(results["on"], 1e3, "ms"),
        )


def judging(folder: Path) -> None:
    """Reading and judging a log against reading its JSON."""
    print("Judging")
    path = folder / "long.jsonl"
    run_plan(long_plan(20 if QUICK else 60), log=LogWriter(path))
    lines = path.read_bytes().splitlines()
    gc.set_threshold(COLLECT_AFTER)

    def read() -> None:
        for _ in LogReader(path).records():
            pass

    results = in_turn(
        {
            "json": lambda: seconds(lambda: [*map(json.loads, lines)], len(lines)),
            "read": lambda: seconds(read, len(lines)),
            "check": lambda: seconds(lambda: check_log(path), len(lines)),
        },
        ROUNDS,
    )
    floor = middle(results["json"])
    for what, target in (("read", ""), ("check", ">= 300,000")):
        one = middle(results[what])
        show(
            f"{what}, events a second",
            f"{1 / one:,.0f}",
            f"x{one / floor:.2f} of json.loads",
            target,
            f"[{1 / max(results[what]):,.0f} .. {1 / min(results[what]):,.0f}]",
        )


def memory(folder: Path) -> None:
    """Peak memory of ``memslots check`` on a long log."""
    print("Memory")
    path = folder / "made-up.jsonl"
    with path.open("w") as file:
        file.writelines(made_up(MILLIONS * 1_000_000))
    program = str(Path(sys.executable).with_name("memslots"))
    # A small program starts it: a child is counted with what its parent had.
    command = [sys.executable, "-c", PEAK_OF, program, "check", str(path), "-q"]
    done = subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    peak, spent = map(float, done.stdout.split())
    show(
        f"check of {MILLIONS} million events, peak",
        f"{peak / 1e3:.0f} MB",
        f"of a log of {path.stat().st_size / 1e6:,.0f} MB",
        "<= 100 MB",
        f"[{spent:.0f} s]",
    )


def asking(folder: Path) -> None:
    """``memslots log query`` and ``timeline`` on a million events, by the clock."""
    print("Asking and drawing, a million events, start-up and all")
    path = folder / "million.jsonl"
    with path.open("w") as file:
        file.writelines(made_up(1_000_000))
    count = "SELECT event, count(*) FROM events GROUP BY event"
    longest = "SELECT actor, max(steps) FROM sections GROUP BY actor"
    picture = folder / "million.html"
    for what, arguments, target in (
        ("query, count by event", ("log", "query", path, count), 1.5),
        ("query, longest sections", ("log", "query", path, longest), 1.5),
        ("timeline", ("timeline", path, "-o", picture, "--force", "--quiet"), 15),
    ):
        took = [_by_the_clock(arguments) for _ in range(3)]
        show(what, f"{middle(took):.2f} s", "", f"<= {target} s", spread(took, 1, "s"))


def _by_the_clock(arguments: tuple[object, ...]) -> float:
    """Seconds that a command takes."""
    program = str(Path(sys.executable).with_name("memslots"))
    began = perf_counter()
    command = [program, *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    return perf_counter() - began


def made_up(count: int) -> Lines:
    """A log of so many events: a slot is replaced over and over, and readers look."""
    header = {"schema": 1, "must_exercise": ["consistent-set", "freed-once"]}
    yield _line(0, 0, "", "run_began", json.dumps(header)[1:-1])
    seq = 0
    for step, actor, event, fields in _events():
        seq += 1
        yield _line(seq, step, actor, event, fields)
        if event == "region_returned" and seq >= count:
            break
    yield _line(seq + 1, step, "", "run_ended", '"ending":"completed"')


def _line(seq: int, step: int, actor: str, event: str, fields: str) -> str:
    comma = "," * bool(fields)
    return (
        f'{{"seq":{seq},"step":{step},"actor":"{actor}","event":"{event}"'
        f"{comma}{fields}}}\n"
    )


def _slot(serial: int) -> str:
    return (
        f'{{"serial":{serial},"id":0,"base_gfn":0,"npages":16,'
        f'"userspace_addr":139637976727552,"flags":{serial % 2}}}'
    )


def _events() -> Iterator[tuple[int, str, str, str]]:
    held = '"rmap":null,"lpage_info":null,"gfn_track":null,"ring":false'
    made = '"as_id":0,"generation":0,"generation_step":1'
    yield 0, "setup", "address_space_made", made
    yield 0, "setup", "memory_allocated", '"kind":"slot","slot":2'
    yield 0, "setup", "memory_held", f'"slot":2,"dirty_bitmap":null,{held}'
    yield 0, "setup", "slot_installed", f'"as_id":0,"slot":{_slot(2)}'
    step, active, serial = 0, 0, 2
    srcu, lock = '"domain":"kvm->srcu"', '"lock":"slots_lock"'
    while True:
        step += 100
        new, call, other = serial + 1, serial - 1, 1 - active
        bitmap = "null" if new % 2 == 0 else str(new)
        region = '"guest_phys_addr":0,"memory_size":65536,"userspace_addr":0'
        asked = f'"call":{call},"slot":0,"flags":{new % 2},{region}'
        replaced = f'"old":{serial},"new":{_slot(new)}'
        yield step, "vmm", "region_requested", asked
        yield step, "vmm", "lock_acquired", f'{lock},"shared":false'
        yield step, "vmm", "memory_allocated", f'"kind":"slot","slot":{new}'
        if new % 2:
            kind = '"kind":"dirty-bitmap"'
            yield step, "vmm", "memory_allocated", f'{kind},"slot":{new}'
        yield step, "vmm", "memory_held", f'"slot":{new},"dirty_bitmap":{bitmap},{held}'
        yield step, "vmm", "slot_replaced", f'"as_id":0,"set":{other},{replaced}'
        number = (1 << 63) + call - 1
        swapped = f'"as_id":0,"set":{other},"generation":{number}'
        yield step, "vmm", "sets_swapped", swapped
        yield step, "vmm", "synchronize_began", f'{srcu},"expedited":true'
        yield step, "gp", "grace_period_started", f'{srcu},"gp_seq":{call * 4 + 1}'
        yield step, "gp", "grace_period_ended", f'{srcu},"gp_seq":{call * 4}'
        yield step, "vmm", "synchronize_ended", srcu
        advanced = f'"as_id":0,"set":{other},"generation":{call}'
        yield step, "vmm", "generation_advanced", advanced
        yield step, "vmm", "slot_replaced", f'"as_id":0,"set":{active},{replaced}'
        if serial % 2:
            kind = '"kind":"dirty-bitmap"'
            yield step, "vmm", "memory_freed", f'{kind},"slot":{serial}'
        yield step, "vmm", "slot_freed", f'"as_id":0,"serial":{serial}'
        yield step, "vmm", "lock_released", lock
        yield step, "vmm", "region_returned", f'"call":{call},"change":"","result":0'
        active, serial = other, new
        seen = f'"as_id":0,"set":{active},"generation":{call},"gfn":3'
        for reader in range(READERS):
            actor = f"vcpu{reader % 4}"
            step += 1
            found = f'{seen},"found_in":"tree","slot":{_slot(serial)}'
            yield step, actor, "section_began", f'{srcu},"srcu_idx":0'
            yield step, actor, "set_dereferenced", f'"as_id":0,"set":{active}'
            yield step, actor, "slot_looked_up", found
            yield step, actor, "section_ended", f'{srcu},"srcu_idx":0'


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        writing(Path(name))
        judging(Path(name))
        memory(Path(name))
        asking(Path(name))
