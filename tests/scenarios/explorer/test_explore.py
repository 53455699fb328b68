"""The answer is the same whoever does the work, however it is cut or interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings

from scenarios.explorer import explore as exploring
from scenarios.explorer.checkpoint import read_checkpoint, write_checkpoint
from scenarios.explorer.engines import Dask, Engine, Processes
from scenarios.explorer.exploration import Answer, Question
from scenarios.explorer.explore import explore
from scenarios.explorer.program import Program
from scenarios.explorer.works import Sizes
from tests.scenarios.explorer.small_programs import (
    BruteForce,
    SmallProgram,
    Tasks,
    programs,
    told,
    up_to_kin,
)
from tests.scenarios.explorer.test_small_programs import (
    CROSSED,
    KIN_AND_MUTEX,
    LOST_UPDATE,
    NEVER,
    RACE,
)

TINY = Sizes(seeds=7, first=5, part=3, width=3, stride=4)
"""Even a small program is cut into many units."""

SMALL = Sizes(seeds=10, first=10, part=10, width=2, stride=25)
"""Less so, where to send a unit takes long."""

PRUNED = Question(strategy="exhaustive")
UNPRUNED = Question(strategy="exhaustive", prune=False)
ALL = Question(strategy="exhaustive", max_fail=0)
QUESTIONS = [
    ALL,
    UNPRUNED,
    Question(strategy="bounded", preemptions=1),
    Question(strategy="urw", seeds=range(5, 45), max_fail=2),
]

thorough = settings(
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def plain(answer: Answer) -> Answer:
    """An answer without what the clock says."""
    return attrs.evolve(answer, seconds=0)


def asked(
    tasks: Tasks,
    question: Question,
    engine: Engine | None = None,
    sizes: Sizes = TINY,
) -> Answer:
    return plain(explore(SmallProgram(tasks), question, engine=engine, sizes=sizes))


class KilledError(BaseException):
    """Stands for a process that is gone at once."""


def killed_five_times(path: Path, program: Program, question: Question) -> Answer:
    """Begin, and go on after each of five ends."""
    path.unlink(missing_ok=True)
    for number in range(6):
        resume = read_checkpoint(path, program, question) if path.exists() else None
        try:
            with killed_after(number + 1 if number < 5 else 10**9):
                return plain(
                    explore(
                        program,
                        question,
                        checkpoint=path,
                        resume=resume,
                        sizes=SMALL,
                        slice_for=0,
                    )
                )
        except KilledError:
            continue
    raise AssertionError("it was killed more often than wanted")


@contextmanager
def killed_after(checkpoints: int) -> Iterator[None]:
    """End at once when so many checkpoints have been written."""
    written = 0

    def write(*args: object, **more: object) -> None:
        nonlocal written
        write_checkpoint(*args, **more)  # type: ignore[arg-type]
        written += 1
        if written == checkpoints:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exploring, "write_checkpoint", write)
        yield


class _KeptProcesses(Processes):
    """Processes that are there for many explorations."""

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def processes() -> Iterator[Engine]:
    engine = _KeptProcesses(2)
    yield engine
    Processes.close(engine)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    distributed = pytest.importorskip(
        "distributed", reason="the extra memslots[dask] is not installed"
    )
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


class _KeptDask(Dask):
    """A client that is there for many explorations."""

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def dask(cluster: str) -> Iterator[Engine]:
    engine = _KeptDask(cluster)
    yield engine
    Dask.close(engine)


def examples(test: Callable[..., None]) -> Callable[..., None]:
    """Small programs with and without something broken."""
    for tasks in (LOST_UPDATE, CROSSED, NEVER, RACE, KIN_AND_MUTEX):
        test = example(tasks=tasks)(test)
    return thorough(given(tasks=programs(9))(test))


@pytest.mark.slow
@examples
def test_what_brute_force_finds_is_found_and_nothing_else(tasks: Tasks) -> None:
    truth = BruteForce(tasks)
    pruned, unpruned = asked(tasks, PRUNED), asked(tasks, UNPRUNED)
    assert pruned.verdict == ("violation" if truth.findings else "holds")
    assert unpruned.verdict == pruned.verdict
    assert unpruned.shown == pruned.shown
    assert all(each.quality == "minimal" for each in pruned.shown)
    assert {told(each.finding) for each in pruned.shown} <= set(truth.findings)
    whole = asked(tasks, ALL)
    assert whole.exhausted
    assert whole.interleavings == truth.orders
    assert unpruned.redundant == 0


@pytest.mark.slow
@examples
def test_cuts_change_no_count_of_states_or_orders(tasks: Tasks) -> None:
    cut = asked(tasks, ALL)
    whole = explore(SmallProgram(tasks), ALL)
    assert cut.distinct_states == whole.distinct_states
    assert cut.interleavings == whole.interleavings
    assert {each.finding for each in cut.shown} == {
        each.finding for each in whole.shown
    }


@pytest.mark.slow
@examples
def test_two_processes_give_the_same_answer(processes: Engine, tasks: Tasks) -> None:
    for question in QUESTIONS:
        alone = asked(tasks, question, sizes=SMALL)
        assert asked(tasks, question, processes, SMALL) == alone


@pytest.mark.slow
@examples
def test_a_cluster_gives_the_same_answer(dask: Engine, tasks: Tasks) -> None:
    for question in QUESTIONS:
        alone = asked(tasks, question, sizes=SMALL)
        assert asked(tasks, question, dask, SMALL) == alone


@pytest.mark.slow
@examples
def test_a_search_that_is_killed_five_times_gives_the_same_answer(
    tmp_path: Path, tasks: Tasks
) -> None:
    for question in QUESTIONS:
        path = tmp_path / "checkpoint"
        killed = killed_five_times(path, SmallProgram(tasks), question)
        assert killed == asked(tasks, question, sizes=SMALL)


def test_states_of_kin_are_counted_once() -> None:
    states = BruteForce(RACE).states
    assert asked(RACE, ALL).distinct_states == up_to_kin(states, RACE)
