"""What an exploration says when it cannot answer, or only in part."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import pytest

from rcu.operation import Location
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Body
from scenarios.errors import InputError
from scenarios.explorer.delete_under_srcu import DeleteUnderSrcu
from scenarios.explorer.engines import Dask, Processes
from scenarios.explorer.exploration import Answer, Progress, Question, Shown
from scenarios.explorer.explore import explore
from scenarios.explorer.program import Program
from scenarios.explorer.repeats import NotDeterministicError
from scenarios.explorer.works import Sizes
from tests.scenarios.explorer.broken_deletes import BROKEN, BrokenDelete
from tests.scenarios.explorer.searching import Bodies
from tests.scenarios.explorer.small_programs import SmallProgram
from tests.scenarios.explorer.test_liveness import Gate
from tests.scenarios.explorer.test_small_programs import SPIN, case

EXHAUSTIVE = Question(strategy="exhaustive")
CUT = Sizes(seeds=50, first=100, part=40, width=4, stride=50)


def pos(count: int, **more: object) -> Question:
    return Question(strategy="pos", seeds=range(count), **more)  # type: ignore[arg-type]


def lengths(shown: Sequence[Shown]) -> list[tuple[str, int, int, int, str]]:
    return [
        (
            each.finding.checker,
            len(each.order),
            each.preemptions,
            each.blocks,
            each.quality,
        )
        for each in shown
    ]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("NO_SYNC1", ("retired-set-quiet", 10, 2, 3, "minimal")),
        ("FREE_EARLY", ("no-use-after-free", 14, 3, 4, "minimal")),
    ],
)
def test_shortest_order_is_shown_whatever_has_found_one(
    kind: str, expected: tuple[str, int, int, int, str]
) -> None:
    program = BrokenDelete(BROKEN[kind], 1)
    questions = [
        EXHAUSTIVE,
        attrs.evolve(EXHAUSTIVE, prune=False),
        Question(strategy="bounded"),
        pos(1_000),
    ]
    answers = [explore(program, question) for question in questions]
    assert [lengths(answer.shown) for answer in answers] == [[expected]] * 4
    assert [answer.verdict for answer in answers] == ["violation"] * 4


def test_all_findings_are_shown_if_it_never_stops() -> None:
    program = BrokenDelete(BROKEN["NO_SYNC1"], 1)
    answer = explore(program, attrs.evolve(EXHAUSTIVE, max_fail=0))
    assert lengths(answer.shown) == [
        ("retired-set-quiet", 10, 2, 3, "minimal"),
        ("no-stale-translation", 17, 2, 4, "minimal"),
    ]
    assert answer.exhausted


def alone(program: Program, seed: int) -> str:
    """What the order of one seed shows."""
    question = Question(strategy="pos", seeds=range(seed, seed + 1))
    return explore(program, question).verdict


def test_first_seed_that_fails_is_the_lowest_and_nothing_behind_it_counts() -> None:
    program = BrokenDelete(BROKEN["ONE_FLIP"], 1)
    first = next(seed for seed in range(200) if alone(program, seed) == "violation")
    for sizes in (Sizes(), CUT, Sizes(seeds=3)):
        answer = explore(program, pos(200), sizes=sizes)
        assert [each.seed for each in answer.shown] == [first]
        assert answer.executions == first + 1
        words = f"{first + 1} orders drawn by pos, seeds 0 to {first}"
        assert answer.bound == words


def test_orders_that_were_drawn_prove_nothing_but_themselves() -> None:
    answer = explore(DeleteUnderSrcu(1), pos(100))
    assert (answer.verdict, answer.exhausted) == ("holds", False)
    assert answer.bound == "100 orders drawn by pos, seeds 0 to 99"


def test_small_protocol_is_exhausted_and_its_orders_are_counted() -> None:
    answer = explore(DeleteUnderSrcu(2), EXHAUSTIVE)
    assert (answer.verdict, answer.exhausted) == ("holds", True)
    assert answer.distinct_states == 1_674
    assert answer.interleavings == 282_721_164
    assert answer.bound == "282,721,164 orders: 1,674 states in 457 runs"
    cut = explore(DeleteUnderSrcu(2), EXHAUSTIVE, sizes=CUT)
    assert cut.distinct_states == 1_674
    assert cut.interleavings == 282_721_164


def test_each_trace_is_run_once_without_pruning() -> None:
    answer = explore(DeleteUnderSrcu(2), attrs.evolve(EXHAUSTIVE, prune=False))
    assert (answer.executions, answer.redundant) == (164, 0)
    assert answer.distinct_traces == 164
    assert answer.bound == "every order: 164 traces, each run once"


def test_few_preemptions_are_a_bound_unless_there_are_no_more() -> None:
    few = explore(DeleteUnderSrcu(1), Question(strategy="bounded", preemptions=1))
    assert (few.verdict, few.exhausted) == ("holds", False)
    assert few.bound == "all orders with at most 1 preemption"
    all_ = explore(DeleteUnderSrcu(1), Question(strategy="bounded"))
    assert (all_.verdict, all_.exhausted) == ("holds", True)
    assert all_.bound.startswith("every order; none has more than ")


def limited(strategy: str, **more: object) -> Answer:
    question = Question(strategy=strategy, max_steps=1_000, **more)  # type: ignore[arg-type]
    answer = explore(DeleteUnderSrcu(3), question, sizes=CUT)
    assert answer.verdict == "inconclusive"
    assert not answer.exhausted
    return answer


def test_limit_of_steps_is_told_with_what_was_covered() -> None:
    states = limited("exhaustive")
    assert 1_000 <= states.steps < 1_200
    assert states.bound == (
        f"ended after {states.steps:,} steps: {states.distinct_states:,} states in"
        f" {states.executions:,} runs"
    )
    traces = limited("exhaustive", prune=False)
    assert traces.bound == (
        f"ended after {traces.steps:,} steps: {traces.executions} traces, each run once"
    )
    bounded = limited("bounded")
    assert " all orders with at most 0 preemptions, and a part of" in bounded.bound
    drawn = limited("pos")
    assert 1_000 <= drawn.steps < 1_050
    assert drawn.bound == (
        f"{drawn.executions} orders drawn by pos, seeds 0 to {drawn.executions - 1}"
    )


def test_limit_of_time_is_told_with_what_was_covered() -> None:
    question = Question(strategy="exhaustive", time_limit=1e-9)
    answer = explore(DeleteUnderSrcu(3), question, sizes=CUT)
    assert answer.verdict == "inconclusive"
    assert answer.bound.startswith("ended after 1e-09 s: ")


def test_program_that_spins_has_no_end_of_orders_but_no_livelock() -> None:
    answer = explore(SmallProgram(SPIN), EXHAUSTIVE)
    assert (answer.verdict, answer.interleavings) == ("holds", None)
    assert answer.bound.startswith("every order: ")


FOR_EVER = case("spin0", "spin0 write1=1", "write1=1")


def test_livelock_is_a_finding_of_its_own() -> None:
    answer = explore(SmallProgram(FOR_EVER), EXHAUSTIVE)
    assert answer.verdict == "violation"
    assert [each.finding.checker for each in answer.shown] == ["livelock"]


def test_run_without_end_is_refused_without_pruning() -> None:
    with pytest.raises(InputError, match="does a task poll"):
        explore(SmallProgram(FOR_EVER), attrs.evolve(EXHAUSTIVE, prune=False))


@pytest.mark.parametrize("jobs", [0, -1])
def test_less_than_one_process_is_refused(jobs: int) -> None:
    with pytest.raises(InputError, match=f"^jobs must be at least 1, got {jobs}$"):
        Processes(jobs)


@pytest.mark.slow
def test_scheduler_that_does_not_answer_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("distributed", reason="memslots[dask] is not installed")
    monkeypatch.setattr("scenarios.explorer.engines.REACHED_WITHIN", "200ms")
    with pytest.raises(InputError, match=r"^no Dask scheduler answers at 'tcp://127"):
        Dask("tcp://127.0.0.1:1")


def test_progress_is_told() -> None:
    told: list[Progress] = []
    question = pos(300)
    explore(DeleteUnderSrcu(2), question, on_progress=told.append, sizes=CUT)
    assert told
    assert all(0 <= each.executions <= 300 for each in told)


def test_starvation_is_found_where_the_budget_ends_the_runs() -> None:
    def make(scheduler: Scheduler) -> list[Body]:
        scheduler.budget = 400
        gate = Gate(scheduler)
        closes, opens = (
            partial(gate.set_for_ever, value=False),
            partial(gate.set_for_ever, value=True),
        )
        return [opens, closes, gate.enter]

    answer = explore(Bodies(make), pos(3))
    assert answer.verdict == "violation"
    assert [str(each.finding.checker) for each in answer.shown] == ["starvation"]


def test_what_cannot_be_told_is_not_pruned_but_run() -> None:
    def make(scheduler: Scheduler) -> list[Body]:
        at = Location("value")

        async def body() -> None:
            told: Any = [].append  # who knows what it does
            await scheduler.point(at.write)
            told(1)
            await scheduler.point(at.write)

        return [body, body]

    answer = explore(Bodies(make), EXHAUSTIVE)
    assert (answer.verdict, answer.exhausted) == ("holds", True)
    assert (answer.distinct_states, answer.distinct_traces) == (None, 6)
    assert answer.bound.startswith(
        "every order: 6 traces, each run once, as states cannot be told apart: a method"
    )


# Not deterministic.


def unsteady(draw: Callable[[], int]) -> Program:
    """One task whose steps depend on something that differs each time."""

    def make(scheduler: Scheduler) -> list[Body]:
        places = [Location(f"value {number}") for number in range(50)]

        async def body() -> None:
            for _ in range(5):
                await scheduler.point(places[draw() % 50].write)

        return [body, body]

    return Bodies(make)


_count = itertools.count()

SOURCES: dict[str, Callable[[], int]] = {
    "time": lambda: time.perf_counter_ns() // 100,
    "random": lambda: random.SystemRandom().randrange(1 << 30),
    "a global": lambda: next(_count),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("question", [EXHAUSTIVE, pos(10)], ids=["all", "pos"])
def test_body_that_is_not_deterministic_is_named(
    source: str, question: Question
) -> None:
    with pytest.raises(
        NotDeterministicError,
        match=r"(step \d+ is '.*: write value \d+' the first time and|cannot write)",
    ):
        explore(unsteady(SOURCES[source]), question)
