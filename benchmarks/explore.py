"""Prints what a search costs, ours and those of others, on the reference protocol.

``python benchmarks/explore.py [--quick] [--hits | --model]``: ``--hits`` makes 100,000
runs of each sampler on each broken protocol instead, ``--model`` searches every order
of four scenarios of the whole model. Every round measures everything once, by the
processor's time; seconds of the clock stand beside it where they differ.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import attrs
import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import explore_hits
from benchmarks.explore_peers import WHOLE, Peer, installed
from benchmarks.harness import show
from rcu.schedule.pool import TaskPool, open_pool
from scenarios.explorer.collector import little_garbage_collection
from scenarios.explorer.delete_under_srcu import DeleteUnderSrcu
from scenarios.explorer.dpor import TraceSearch
from scenarios.explorer.engines import Processes
from scenarios.explorer.exploration import Question
from scenarios.explorer.explore import explore
from scenarios.explorer.machine_program import MachineProgram
from scenarios.explorer.measure import measure
from scenarios.explorer.program import Instance, Program
from scenarios.explorer.sampling import SampleSearch
from scenarios.explorer.shortest import BoundedSearch
from scenarios.explorer.states import StateSearch
from scenarios.planner import plan_for
from scenarios.strategies.by_name import SAMPLERS, Options
from tests.scenarios.explorer.broken_deletes import BROKEN, BrokenDelete

QUICK = "--quick" in sys.argv
ROUNDS = 3 if QUICK else 7
RUNS = 1_000 if QUICK else 5_000
COUNTED = 200_000_000
JOB_RUNS = 20_000 if QUICK else 1_000_000
READERS = 2

TARGET_RATE = 25_000
TARGETS = {2: 0.1, 3: 0.5, 4: 4.0}
"""Seconds to exhaust, by readers."""

MINIMUM = {
    "NO_SYNC1": "10 steps, 2 changes",
    "NO_SYNC2": "15 steps, 3 changes",
    "FREE_EARLY": "14 steps, 3 changes",
    "ONE_FLIP": "16 steps, 4 changes",
}


@attrs.frozen
class Cost:
    """What one measure took.

    Attributes:
        cpu, wall: Seconds of the processor and of the clock.
        units: How much was done.
        said: What came out.
    """

    cpu: float
    wall: float
    units: int
    said: str = ""


Work = Callable[[], Cost]


@contextmanager
def timed(costs: list[Cost], units: Callable[[], tuple[int, str]]) -> Iterator[None]:
    """Add what the block took."""
    cpu, wall = process_time(), perf_counter()
    yield
    cpu, wall = process_time() - cpu, perf_counter() - wall
    costs.append(Cost(cpu, wall, *units()))


def on_pool(work: Callable[[TaskPool], Awaitable[Cost]]) -> Cost:
    """Do work that needs Trio tasks."""

    async def main() -> Cost:
        async with open_pool() as pool:
            with little_garbage_collection():
                return await work(pool)

    return trio.run(main)


async def sample(name: str, pool: TaskPool) -> Cost:
    """Runs that a sampler draws."""
    program, sampler = DeleteUnderSrcu(READERS), SAMPLERS[name](0, Options())
    sampler.learn(await measure(program, pool))
    search = SampleSearch(program, pool, sampler, range(RUNS))
    await search.begin()
    costs: list[Cost] = []
    with timed(costs, lambda: (search.executions, "")):
        while search.advance(1_000_000):
            pass
    return costs[0]


Search = StateSearch | TraceSearch | BoundedSearch


async def exhaust(
    program: Program,
    make: Callable[[Instance], Search],
    units: Callable[[Search], tuple[int, str]],
    pool: TaskPool,
) -> Cost:
    """A search to its end."""
    instance = Instance(program)
    instance.scheduler.borrowed(await pool.lend(instance.scheduler))
    search = make(instance)
    costs: list[Cost] = []
    with timed(costs, lambda: units(search)):
        search.begin()
        while search.advance(1_000_000):
            pass
    instance.close()
    return costs[0]


def of_states(search: Search) -> tuple[int, str]:
    assert isinstance(search, StateSearch)
    return len(search.states), f"{len(search.states):,} states"


def of_traces(search: Search) -> tuple[int, str]:
    assert isinstance(search, TraceSearch)
    return search.executions, f"{search.executions:,} runs, {search.redundant} too many"


def of_minimum(search: Search) -> tuple[int, str]:
    assert isinstance(search, BoundedSearch)
    if search.found is None or not search.done:
        return search.steps, "not found"
    changes, steps = search.found.length
    return search.steps, f"{steps} steps, {changes} changes"


def in_rounds(work: Mapping[str, Work], rounds: int) -> dict[str, list[Cost]]:
    """Do everything once a round, so that a slow moment hits all."""
    costs: dict[str, list[Cost]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, one in work.items():
            costs[name].append(one())
    return costs


def cpu(costs: list[Cost]) -> float:
    """The median."""
    return statistics.median(cost.cpu for cost in costs)


def rate(costs: list[Cost]) -> float:
    """Units a second of the processor."""
    return statistics.median(cost.units / cost.cpu for cost in costs)


def spread_of_rates(costs: list[Cost]) -> str:
    rates = [cost.units / cost.cpu for cost in costs]
    wall = statistics.median(cost.units / cost.wall for cost in costs)
    return f"[{min(rates):,.0f} .. {max(rates):,.0f}], by the clock {wall:,.0f}"


def spread_of_seconds(costs: list[Cost]) -> str:
    low, high = min(cost.cpu for cost in costs), max(cost.cpu for cost in costs)
    wall = statistics.median(cost.wall for cost in costs)
    return f"[{low:.3f} .. {high:.3f} s], by the clock {wall:.3f} s"


def peer_rate(work: Callable[[], int]) -> Cost:
    """Runs that a peer makes."""
    costs: list[Cost] = []
    runs = 0
    with little_garbage_collection(), timed(costs, lambda: (runs, "")):
        runs = work()
    return costs[0]


def sampling_numbers(peers: dict[str, Peer | None]) -> None:
    """Runs a second."""
    print(f"Runs a second of the whole protocol, {READERS} readers, one core")
    work: dict[str, Work] = {
        name: partial(on_pool, partial(sample, name)) for name in SAMPLERS
    }
    for peer in peers.values():
        if peer is not None:
            for mode, runs in peer.rates().items():
                work[f"{peer.name} {peer.version} {mode}"] = partial(peer_rate, runs)
    results = in_rounds(work, ROUNDS)
    best = rate(results["pos"])
    for name, costs in results.items():
        show(
            name,
            f"{rate(costs):,.0f}",
            "" if name == "pos" else f"pos is x{best / rate(costs):.1f} of it",
            f">= {TARGET_RATE:,}" if name in {"random", "pos"} else "",
            spread_of_rates(costs),
        )
    for name, peer in peers.items():
        if peer is None:
            show(name, "not installed")


def explored(jobs: int) -> Cost:
    """A whole exploration, from the question to the answer."""
    question = Question(strategy="pos", seeds=range(JOB_RUNS))
    costs: list[Cost] = []
    with timed(costs, lambda: (JOB_RUNS, "")):
        answer = explore(DeleteUnderSrcu(READERS), question, engine=Processes(jobs))
    if answer.executions != JOB_RUNS:
        raise RuntimeError(f"{answer.executions} runs, not {JOB_RUNS}")
    return costs[0]


COUNTING = "for _ in range({}): pass"


def counted(jobs: int) -> Cost:
    """What two processes can gain on this machine: they count, and share nothing."""
    costs: list[Cost] = []
    with timed(costs, lambda: (COUNTED, "")):
        command = [sys.executable, "-S", "-c", COUNTING.format(COUNTED // jobs)]
        processes = [subprocess.Popen(command) for _ in range(jobs)]  # noqa: S603
        for process in processes:
            process.wait()
    return costs[0]


def job_numbers() -> None:
    """Two processes against one."""
    print(f"{JOB_RUNS:,} runs of pos as an exploration, by the clock")
    work = {
        "--jobs 1": partial(explored, 1),
        "--jobs 2": partial(explored, 2),
        "one counts": partial(counted, 1),
        "two count": partial(counted, 2),
    }
    results = in_rounds(work, 3)
    walls = {name: [cost.wall for cost in costs] for name, costs in results.items()}
    one, two, alone, both = map(statistics.median, walls.values())
    gains = {
        "--jobs 2": f"x{one / two:.2f} of one",
        "two count": f"x{alone / both:.2f}",
    }
    for name, seconds in walls.items():
        show(
            name,
            f"{JOB_RUNS / statistics.median(seconds):,.0f} runs/s"
            if name in {"--jobs 1", "--jobs 2"}
            else "",
            gains.get(name, ""),
            ">= x1.8" if name == "--jobs 2" else "",
            f"[{min(seconds):.2f} .. {max(seconds):.2f} s]",
        )


def exhausting_numbers() -> None:
    """All states, all traces."""
    print("Every state once, readers interchangeable")
    for readers in (1, 2, 3, 4) if QUICK else (1, 2, 3, 4, 5):
        work = partial(
            on_pool,
            partial(exhaust, DeleteUnderSrcu(readers), StateSearch, of_states),
        )
        costs = in_rounds({"": work}, ROUNDS if readers < 4 else 3 - 2 * (readers > 4))
        _show_search(f"{readers} readers", costs[""], TARGETS.get(readers), "states")
    print("Every state once, readers apart")
    for readers in (1, 2) if QUICK else (1, 2, 3):
        make = partial(StateSearch, symmetric=False)
        work = partial(
            on_pool, partial(exhaust, DeleteUnderSrcu(readers), make, of_states)
        )
        costs = in_rounds({"": work}, 3)
        _show_search(f"{readers} readers", costs[""], None, "states")
    print("Every trace once, no state kept")
    for readers in (1, 2, 3):
        work = partial(
            on_pool,
            partial(exhaust, DeleteUnderSrcu(readers), TraceSearch, of_traces),
        )
        costs = in_rounds({"": work}, 3)
        _show_search(f"{readers} readers", costs[""], None, "runs")


MODELS = (
    "delete-with-two-readers",
    "move-with-two-readers",
    "notifier-vs-swap",
    "lazy-rmap-vs-update",
)


def model_numbers() -> None:
    """Every order of scenarios of the whole model, checkers and all."""
    print("Every state of the whole model once, as an exploration")
    for name in MODELS:
        question = Question(strategy="exhaustive")
        costs: list[Cost] = []
        with timed(costs, lambda: (1, "")):
            answer = explore(MachineProgram(plan_for(name)), question)
        show(
            name,
            f"{costs[0].cpu:.1f} s",
            f"{answer.distinct_states:,} states",
            "<= 60 s",
            f"{answer.interleavings:,} orders, {answer.verdict}",
        )


def _show_search(what: str, costs: list[Cost], target: float | None, unit: str) -> None:
    show(
        f"{what}: {costs[0].said}",
        f"{cpu(costs):.3f} s",
        f"{rate(costs):,.0f} {unit}/s",
        f"<= {target} s" if target else "",
        spread_of_seconds(costs),
    )


def minimum_numbers() -> None:
    """The shortest orders that show what is broken, and the proof."""
    print("The shortest order, found and proven minimal, 3 readers")
    work: dict[str, Work] = {
        name: partial(
            on_pool,
            partial(
                exhaust,
                BrokenDelete(kind, 3),
                partial(BoundedSearch, switches=True),
                of_minimum,
            ),
        )
        for name, kind in BROKEN.items()
    }
    for name, costs in in_rounds(work, ROUNDS).items():
        if costs[0].said != MINIMUM[name]:
            raise RuntimeError(f"{name}: {MINIMUM[name]} expected, {costs[0].said}")
        _show_search(name, costs, 0.5, "steps")


def claim_numbers(peers: dict[str, Peer | None]) -> None:
    """What the others say of broken protocols if nobody tells them how far to go."""
    print(f"What is said of broken protocols by default, {READERS} readers, runs made")
    for peer in peers.values():
        if peer is None:
            continue
        for mode, search in peer.modes().items():
            for kind in (WHOLE, *BROKEN):
                with little_garbage_collection():
                    started = process_time()
                    claim = search(kind)
                    seconds = process_time() - started
                said = "found" if claim.found else claim.text
                wrong = kind != WHOLE and not claim.found
                show(
                    f"{peer.name} {mode}, {kind}",
                    f"{claim.executions:,}",
                    f"{seconds:.2f} s",
                    said,
                    "broken all the same" if wrong else "",
                )


def main() -> None:
    """Everything in one run."""
    peers = dict(installed())
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"CPython {sys.version.split()[0]}, {os.cpu_count()} cores, load {load}")
    sampling_numbers(peers)
    job_numbers()
    exhausting_numbers()
    minimum_numbers()
    claim_numbers(peers)


if __name__ == "__main__":
    if "--hits" in sys.argv:
        explore_hits.main(2_000 if QUICK else 100_000)
    elif "--model" in sys.argv:
        model_numbers()
    else:
        main()
