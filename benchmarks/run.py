"""Prints the numbers that the project promises, each as a ratio taken in this run.

``make bench``, or ``python benchmarks/run.py [--quick]``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter

import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import indexes, kvm, programs
from benchmarks.harness import in_turn, middle, per_unit, show, spread
from memslots.slot_set import Memslots
from rcu.schedule.pool import TaskPool, open_pool
from scenarios.logbook.writer import LogWriter
from scenarios.planner import plan_for
from scenarios.runner import run as run_plan

MOST, OLD_LIMIT = 32_764, 509
ROUNDS = 5 if "--quick" in sys.argv else 15


async def scheduler_numbers(pool: TaskPool) -> None:
    """Points, switches, whole schedules."""
    print("Scheduler")
    count = 20_000
    samples: dict[str, list[float]] = {}

    async def sample(name: str, strategy: object, tasks: int) -> None:
        run = programs.points(strategy, tasks, count // tasks)  # type: ignore[arg-type]
        started = perf_counter()
        report = await pool.run(run)
        seconds = (perf_counter() - started) / report.steps
        samples.setdefault(name, []).append(seconds)

    for _ in range(ROUNDS):
        await sample("point", programs.Stays(), 1)
        await sample("stay", programs.Chooses(switch=False), 4)
        await sample("switch", programs.Chooses(switch=True), 4)
        samples.setdefault("await", []).append(programs.bare_await(count))
        samples.setdefault("bare", []).append(programs.bare_switches(count // 4))
        hand_off = await programs.trio_hand_off(count // 10)
        samples.setdefault("hand-off", []).append(hand_off)
    point, stay, switch, floor, bare, hand_off = (
        middle(samples[name])
        for name in ("point", "stay", "switch", "await", "bare", "hand-off")
    )
    show(
        "point without a switch",
        f"{point * 1e9:.0f} ns",
        f"x{point / floor:.2f} of a bare await",
        "<= 100 ns",
        spread(samples["point"], 1e9, "ns"),
    )
    change = switch - stay
    show(
        "the switch itself (switching - staying point)",
        f"{change * 1e9:.0f} ns",
        f"x{change / bare:.2f} of a bare switch",
        "<= x1.5",
    )
    show("", "", f"x{change / hand_off:.3f} of a Trio hand-off", "<= x0.1")
    show(
        "a point that switches, decision included",
        f"{switch * 1e9:.0f} ns",
        f"x{switch / bare:.2f} of a bare switch",
        "",
        spread(samples["switch"], 1e9, "ns"),
    )
    show("", "", f"x{switch / hand_off:.3f} of a Trio hand-off")
    show(
        "floors: await / bare switch / Trio hand-off",
        f"{floor * 1e9:.0f}/{bare * 1e9:.0f}/{hand_off * 1e9:.0f} ns",
    )

    times = []
    floors = []
    for _ in range(ROUNDS):
        times.append(await programs.schedules(pool, 2_000))
        floors.append(programs.bare_schedules(2_000))
    one, bare_one = middle(times), middle(floors)
    show(
        "schedules a second, 4 x 15 points, recorded",
        f"{1 / one:,.0f}",
        f"x{one / bare_one:.2f} of bare coroutines",
        ">= 40,000",
        f"[{1 / max(times):,.0f} .. {1 / min(times):,.0f}]",
    )


def many_schedules(seed: int) -> None:
    """What one process does for the two-process number."""

    async def body() -> None:
        async with open_pool() as pool:
            await programs.schedules(pool, 20_000, seed)

    trio.run(body)


def process_numbers() -> None:
    """Two processes against one."""
    with ProcessPoolExecutor(2) as workers:
        list(workers.map(len, ["", ""]))
        results = in_turn(
            {
                "one": lambda: per_unit(
                    lambda: list(workers.map(many_schedules, [1])), 1
                ),
                "two": lambda: per_unit(
                    lambda: list(workers.map(many_schedules, [1, 2])), 2
                ),
            },
            5,
        )
    gain = middle(results["one"]) / middle(results["two"])
    show("schedules, two processes", "", f"x{gain:.2f} of one", ">= x1.8")


async def creation_numbers(pool: TaskPool) -> None:
    """Creating slots through the full protocol."""
    print("Updates")
    most, old, real = [], [], []
    for _ in range(max(3, ROUNDS // 5)):
        old += [await programs.create_slots(pool, OLD_LIMIT) for _ in range(5)]
        most.append(await programs.create_slots(pool, MOST))
        if kvm.available():
            real.append(kvm.create_slots(MOST))
    show(
        f"creating one of {MOST:,} slots",
        f"{middle(most) * 1e6:.1f} us",
        f"x{middle(most) / middle(old):.2f} of one of {OLD_LIMIT}",
        "<= 60 us, <= x1.5",
        spread(most, 1e6, "us"),
    )
    if real:
        show(
            "the real kernel's ioctl, same slots",
            f"{middle(real) * 1e6:.1f} us",
            f"ours x{middle(most) / middle(real):.2f}",
            "ours < x1",
            spread(real, 1e6, "us"),
        )
    else:
        show("the real kernel's ioctl, same slots", "no /dev/kvm")


def index_numbers() -> None:
    """The trees against their peers; memory."""
    print("Indexes, 32,764 slots")
    slots = indexes.make_set()
    for measures, target in (
        (indexes.gfn_lookups(slots), "<= x1"),
        (indexes.hva_lookups(slots), "<= x0.25"),
    ):
        results = in_turn(measures, ROUNDS)
        (ours, peer) = measures
        mine, theirs = middle(results[ours]), middle(results[peer])
        show(
            f"query of the {ours}",
            f"{mine * 1e9:.0f} ns",
            f"x{mine / theirs:.2f} of {peer}",
            target,
        )
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    first = indexes.make_set()
    second = Memslots(0, 1)
    for slot in first:
        second.replace(None, slot)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    show(
        "memory of a slot in both sets",
        f"{used / len(second):.0f} bytes",
        "",
        "<= 600 bytes",
    )


def program_numbers() -> None:
    """Whole commands."""
    print("Program")
    plan = plan_for("q35-boot")
    with tempfile.TemporaryDirectory() as folder:
        results = in_turn(
            {
                "without": lambda: run_plan(plan).seconds,
                "with": lambda: (
                    run_plan(plan, log=LogWriter(Path(folder) / "run.jsonl")).seconds
                ),
            },
            ROUNDS,
        )
    on, off = middle(results["with"]), middle(results["without"])
    show(
        "q35-boot, log on", f"{on * 1e3:.0f} ms", f"x{on / off:.2f} of log off", "<= x2"
    )
    memslots = Path(sys.executable).with_name("memslots")
    results = in_turn(
        {
            "help": partial(_seconds, [str(memslots), "--help"]),
            "python": partial(_seconds, [sys.executable, "-c", "pass"]),
        },
        ROUNDS,
    )
    show(
        "memslots --help",
        f"{middle(results['help']) * 1e3:.0f} ms",
        f"python: {middle(results['python']) * 1e3:.0f} ms",
        "<= 250 ms",
        spread(results["help"], 1e3, "ms"),
    )


def _seconds(command: list[str]) -> float:
    started = perf_counter()
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own
    return perf_counter() - started


async def main() -> None:
    """Everything that needs Trio, in one run."""
    async with open_pool() as pool:
        await scheduler_numbers(pool)
        await creation_numbers(pool)


if __name__ == "__main__":
    trio.run(main)
    process_numbers()
    index_numbers()
    program_numbers()
