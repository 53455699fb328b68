"""A test declares tasks; pytest runs them in every order and tells what breaks."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import entry_points
from textwrap import dedent

import hypothesis
import pytest

from scenarios.explorer import explored
from tests.architecture.pages import ROOT

pytest_plugins = ["pytester"]

MODULE = "scenarios.explorer.pytest_plugin"
INSTALLED = any(point.value == MODULE for point in entry_points(group="pytest11"))
LOADED = () if INSTALLED else ("-p", MODULE)
IMPORTED = explored, hypothesis
"""Imported here, so that the pytest inside does not import it anew for each test."""

PRELUDE = """
import itertools
import random
import time

import pytest
import trio

from rcu.locks import Mutex
from rcu.operation import Location
from rcu.srcu.domain import SrcuDomain

explored = pytest.mark.explore


class Counter:
    def __init__(self, scheduler):
        self.point = scheduler.point
        self.cell = Location("value")
        self.value = 0

    async def add(self):
        await self.point(self.cell.read)
        seen = self.value
        await self.point(self.cell.write)
        self.value = seen + 1


def two_that_add(explore):
    counter = Counter(explore.scheduler)
    for name in "ab":
        explore.task(name, counter.add)
    explore.at_end(lambda: counter.value == 2, "an update was lost")


def three_in_turn(explore):
    counter = Counter(explore.scheduler)
    mutex = Mutex(explore.scheduler, "mutex")

    async def add():
        async with mutex:
            await counter.add()

    for name in "abc":
        explore.task(name, add)
    explore.at_end(lambda: counter.value == 3)

"""

LOST_UPDATE = """
def test_it(explore):
    two_that_add(explore)
"""

IN_TURN = """
def test_it(explore):
    three_in_turn(explore)
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Run the tests of a source, in this process."""

    def run(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=PRELUDE + dedent(source))
        return pytester.runpytest_inprocess(
            *LOADED, "-p", "no:cacheprovider", "-p", "no:xdist", *arguments
        )

    return run


def failure(result: pytest.RunResult) -> list[str]:
    """What a failing test says."""
    lines = result.outlines
    begin = next(i for i, line in enumerate(lines) if "_ test_it _" in line)
    end = next(i for i in range(begin, len(lines)) if "explored orders" in lines[i])
    return lines[begin + 1 : end]


def summary(result: pytest.RunResult) -> list[str]:
    """What is said of explored tests in the end."""
    lines = result.outlines
    begin = next(i for i, line in enumerate(lines) if " explored orders -" in line)
    end = next(i for i in range(begin, len(lines)) if lines[i].startswith("="))
    return [line for line in lines[begin + 1 : end] if line]


# What is broken.


def test_a_lost_update_is_told_with_its_shortest_order(run: Run) -> None:
    result = run(LOST_UPDATE)
    result.assert_outcomes(failed=1)
    told = failure(result)
    assert told[:-1] == [
        "at-end: an update was lost",
        "Shortest order (by preemptions, then steps): 4 steps, 1 preemption (!)",
        "    a  1    read value",
        "  ! b  2-3  read value; write value",
        "    a  4    write value",
        "Replay: pytest test_it.py::test_it --explore-replay 0x1,1x2,0x1",
    ]
    assert told[-1].startswith("Searched: ")


@pytest.mark.parametrize(
    "strategy", ["exhaustive", "bounded", "random", "pct", "pos", "urw"]
)
def test_every_strategy_leads_to_the_same_order(run: Run, strategy: str) -> None:
    source = f"""
    @explored(strategy={strategy!r})
    def test_it(explore):
        two_that_add(explore)
    """
    told = failure(run(source))
    assert told[5].endswith(" --explore-replay 0x1,1x2,0x1")


def test_a_deadlock_is_told_with_who_waits_for_whom(run: Run) -> None:
    source = """
    def test_it(explore):
        left, right = (Mutex(explore.scheduler, name) for name in ("left", "right"))

        async def dine(first, second):
            async with first, second:
                pass

        explore.task("a", dine, left, right)
        explore.task("b", dine, right, left)
    """
    assert failure(run(source))[:5] == [
        (
            "deadlock: a waits to acquire right (held by b), holds left;"
            " b waits to acquire left (held by a), holds right"
        ),
        "The rule: no task waits for what cannot come.",
        "Shortest order (by preemptions, then steps): 2 steps, 1 preemption (!)",
        "    a  1    acquire left",
        "  ! b  2    acquire right",
    ]


def test_a_misused_domain_is_told_with_the_line_that_misuses_it(run: Run) -> None:
    source = """
    def test_it(explore):
        srcu = SrcuDomain(explore.scheduler, "srcu")

        async def read():
            async with srcu.reading():
                await srcu.synchronize()

        explore.task("reader", read)
    """
    told = failure(run(source))
    assert told[0].startswith("deadlock: GracePeriodInReader: reader calls synchronize")
    assert told[1].endswith(": await srcu.synchronize()")
    assert told[1].startswith("test_it.py:")


def test_an_assertion_of_a_task_is_told_with_its_line(run: Run) -> None:
    source = """
    def test_it(explore):
        counter = Counter(explore.scheduler)

        async def add():
            await counter.add()
            assert counter.value < 2, "too many"

        explore.task("a", add)
        explore.task("b", add)
    """
    told = failure(run(source))
    assert told[0].startswith("assertion: too many")
    place = next(line for line in told if line.startswith("test_it.py:"))
    assert place.endswith(': assert counter.value < 2, "too many"')


def test_what_a_task_gives_up_with_pytest_fail_is_a_finding(run: Run) -> None:
    source = """
    def test_it(explore):
        counter = Counter(explore.scheduler)

        async def add():
            await counter.add()
            if counter.value == 2:
                pytest.fail("too many")

        explore.task("a", add)
        explore.task("b", add)
    """
    assert failure(run(source))[0] == "failed: too many"


def test_another_error_of_a_task_is_shown_as_the_tests_own(run: Run) -> None:
    source = """
    def test_it(explore):
        counter = Counter(explore.scheduler)

        async def add():
            await counter.add()
            if counter.value == 2:
                raise KeyError("two")

        explore.task("a", add)
        explore.task("b", add)
    """
    result = run(source)
    result.assert_outcomes(failed=1)
    told = failure(result)
    assert '>           raise KeyError("two")' in told
    assert "E           KeyError: 'two'" in told
    replay = "Replay: pytest test_it.py::test_it --explore-replay 0x2,1x2"
    assert f"E           {replay}" in told
    assert not any("scenarios" in line or "trio" in line for line in told)


def test_an_error_of_a_check_at_the_end_is_shown_as_the_tests_own(run: Run) -> None:
    source = """
    def test_it(explore):
        counter = Counter(explore.scheduler)
        explore.task("a", counter.add)
        explore.at_end(lambda: counter.values == 1)
    """
    told = failure(run(source))
    assert any("AttributeError: 'Counter' object has no" in line for line in told)


def test_an_error_of_the_body_is_shown_as_the_tests_own(run: Run) -> None:
    source = """
    def test_it(explore):
        raise KeyError("early")
    """
    result = run(source)
    assert "E       KeyError: 'early'" in result.outlines
    assert not any(" explored orders -" in line for line in result.outlines)


def test_a_body_may_skip(run: Run) -> None:
    source = """
    def test_it(explore):
        pytest.skip("not here")
    """
    run(source).assert_outcomes(skipped=1)


def test_a_known_bug_may_be_expected(run: Run) -> None:
    run("@pytest.mark.xfail(strict=True)" + LOST_UPDATE).assert_outcomes(xfailed=1)


# What was searched.


def test_all_orders_are_counted(run: Run) -> None:
    result = run(IN_TURN, "-v")
    result.assert_outcomes(passed=1)
    one, total = summary(result)
    assert one.startswith("test_it.py::test_it: all 6 orders: ")
    assert total.startswith("1 test: 1 exhausted; ")
    assert total.endswith(" states told apart")


def test_only_the_total_is_told_unless_asked_for_more(run: Run) -> None:
    assert len(summary(run(IN_TURN))) == 1


def test_nothing_is_told_of_other_tests(run: Run) -> None:
    result = run("def test_it(): pass", "-v")
    assert not any("explored" in line for line in result.outlines)


def test_a_bound_on_preemptions_is_kept(run: Run) -> None:
    source = """
    @explored(strategy="bounded", preemptions=0)
    def test_none(explore):
        two_that_add(explore)

    @explored(strategy="bounded", preemptions=1)
    def test_one(explore):
        two_that_add(explore)
    """
    result = run(source, "-v")
    result.assert_outcomes(passed=1, failed=1)
    none, _, total = summary(result)
    assert none.startswith(
        "test_it.py::test_none: all orders with at most 0 preemptions: "
    )
    assert total.startswith("2 tests: 1 exhausted within a bound, 1 broken; ")


def test_seeds_are_counted_and_may_be_given(run: Run) -> None:
    source = """
    @explored(strategy="pos", schedules=5, seed=2)
    def test_it(explore):
        three_in_turn(explore)
    """
    told = "test_it.py::test_it: {} orders drawn by pos, seeds {}"
    assert summary(run(source, "-v"))[0] == told.format(5, "2 to 6")
    given = ("--explore-schedules", "10", "--explore-seed", "7")
    assert summary(run(source, "-v", *given))[0] == told.format(10, "7 to 16")


def test_state_that_cannot_be_told_is_named_and_each_order_run(run: Run) -> None:
    source = """
    def test_it(explore):
        counter = Counter(explore.scheduler)
        numbers = itertools.count()

        async def add():
            await counter.add()
            next(numbers)

        explore.task("a", add)
        explore.task("b", add)
    """
    (told, _) = summary(run(source, "-v"))
    assert told.startswith(
        "test_it.py::test_it: all 6 orders, each of them run,"
        " as states cannot be told: a value of type itertools.count"
    )


def test_a_bound_is_kept_where_states_cannot_be_told(run: Run) -> None:
    source = """
    @explored(strategy="bounded", preemptions=0)
    def test_it(explore):
        counter = Counter(explore.scheduler)
        numbers = itertools.count()

        async def add():
            await counter.add()
            next(numbers)

        explore.task("a", add)
        explore.task("b", add)
        explore.at_end(lambda: counter.value == 2)
    """
    told, _ = summary(run(source, "-v"))
    assert told.startswith(
        "test_it.py::test_it: all 2 orders with at most 0 preemptions, each of them run"
    )


def test_a_search_that_reaches_its_limit_has_not_passed(run: Run) -> None:
    source = """
    @explored(limit=3)
    def test_it(explore):
        three_in_turn(explore)
    """
    result = run(source)
    result.assert_outcomes(failed=1)
    assert failure(result)[0].startswith("explore: not exhausted after ")


def test_what_no_operation_names_is_found_by_drawn_orders(run: Run) -> None:
    source = """
    def test_it(explore):
        counter = Counter(explore.scheduler)
        counter.cell.write = counter.cell.read
        for name in "ab":
            explore.task(name, counter.add)
        explore.at_end(lambda: counter.value == 2, "an update was lost")
    """
    told = failure(run(source))
    assert told[0] == "at-end: an update was lost"
    assert "tasks share what no operation names" in told[-1]


# An order again.


def test_an_order_is_replayed_twice_and_breaks_the_same(run: Run) -> None:
    result = run(LOST_UPDATE, "-v", "--explore-replay", "0x1,1x2,0x1")
    assert failure(result) == [
        "at-end: an update was lost",
        "Order, as it was given: 4 steps, 1 preemption (!)",
        "    a  1    read value",
        "  ! b  2-3  read value; write value",
        "    a  4    write value",
        "Replay: pytest test_it.py::test_it --explore-replay 0x1,1x2,0x1",
        "Searched: one order of 4 steps, replayed twice",
    ]
    assert summary(result)[1] == "1 test: 1 broken; 2 orders run"


def test_an_order_that_breaks_nothing_passes(run: Run) -> None:
    result = run(LOST_UPDATE, "--explore-replay", "0x2,1x2")
    result.assert_outcomes(passed=1)
    assert summary(result) == ["1 test: 1 replayed; 2 orders run"]


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ("0x1,1x1", "the schedule ends after 2 steps, but a, b can go on"),
        ("0x3,1x1", "step 3 is made by a, which cannot write value now; b can go on"),
        ("0x2,2x2", "step 3 is made by task number 2, but the run has 2 tasks"),
        ("0x2,1x3", "the run ended after 4 steps, but the schedule has 5"),
    ],
)
def test_an_order_that_does_not_fit_is_refused(run: Run, order: str, told: str) -> None:
    result = run(LOST_UPDATE, "--explore-replay", order)
    assert failure(result)[0] == f"--explore-replay: {told}."


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("replay", "2y3", "'2y3', number 1 in the order, is not TASKxSTEPS"),
        ("replay", "0x1,", "'', number 2 in the order, is not TASKxSTEPS"),
        ("replay", "0x0", "'0x0', number 1 in the order, is not TASKxSTEPS"),
        ("replay", "0x99999999", "an order has at most 10,000,000 steps"),
        ("schedules", "0", "--explore-schedules must be at least 1, got 0"),
        ("seed", "-1", "--explore-seed must be at least 0, got -1"),
    ],
)
def test_a_bad_option_is_refused_at_once(
    run: Run, option: str, value: str, told: str
) -> None:
    result = run(LOST_UPDATE, f"--explore-{option}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert told in "\n".join(result.errlines)


def test_an_order_belongs_to_one_test(run: Run) -> None:
    result = run(LOST_UPDATE + IN_TURN.replace("it", "too"), "--explore-replay", "0x1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "2 of those selected take the fixture" in "\n".join(result.errlines)


@pytest.mark.slow
def test_an_order_belongs_to_one_test_for_workers_too(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(test_it=PRELUDE + LOST_UPDATE, test_too=PRELUDE + IN_TURN)
    result = pytester.runpytest_subprocess(
        *LOADED, "-n", "2", "--explore-replay", "0x1"
    )
    result.assert_outcomes(failed=2)
    assert "2 of those selected take the fixture" in "\n".join(result.outlines)


# What cannot be explored.


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (
            "counter.value = random.random()",
            "after step 1 of the same order, its state is another the second time",
        ),
        (
            "await counter.point(cells[random.randrange(10**9)].write)",
            "step 2 is '",
        ),
        (
            "assert next(numbers) < 1",
            "the first time it ends well, and the second time it breaks",
        ),
    ],
    ids=["a value", "an operation", "a global"],
)
def test_a_test_that_is_not_deterministic_is_named(
    run: Run, declare: str, told: str
) -> None:
    source = f"""
    cells = dict()
    numbers = itertools.count()

    class Cells:
        def __getitem__(self, number):
            return Location(str(number))

    cells = Cells()

    def test_it(explore):
        counter = Counter(explore.scheduler)

        async def body():
            await counter.point(counter.cell.write)
            {declare}

        explore.task("a", body)
    """
    result = run(source)
    result.assert_outcomes(failed=1)
    assert failure(result)[0].startswith(f"the test is not deterministic: {told}")


def test_names_of_tasks_that_vary_are_named(run: Run) -> None:
    source = """
    numbers = itertools.count()

    def test_it(explore):
        explore.task(f"task{next(numbers)}", Counter(explore.scheduler).add)
    """
    assert failure(run(source))[0] == (
        "the test is not deterministic: step 1 is 'task0: read value' the first time"
        " and 'task1: read value' the second time."
    )


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("pass", "the test declares no task: call explore.task(name, async_function)"),
        (
            "explore.task('a', print)",
            "the body of task 'a' must be an async function, got <built-in function",
        ),
        (
            "explore.task('a', Counter(explore.scheduler).add())",
            "the body of task 'a' must be an async function, got <coroutine object",
        ),
    ],
)
def test_a_test_that_declares_no_program_is_told_so(
    run: Run, body: str, told: str
) -> None:
    result = run(f"def test_it(explore): {body}")
    assert failure(result)[0].startswith(f"explore: {told}")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("strategy='exhaustiv'", "there is no strategy 'exhaustiv'; did you mean"),
        ("schedule=3", "there is no option 'schedule'; did you mean 'schedules'?"),
        ("seed=3", "strategy 'exhaustive' has no use for seed=3; it takes limit, cpus"),
        ("cpus=0", "cpus must be a number of at least 1, got 0"),
        ("limit='x'", "limit must be a number of at least 1, got 'x'"),
        ("'pos'", "the options of the marker have names: strategy='pos'"),
    ],
)
def test_a_bad_marker_is_refused(run: Run, options: str, told: str) -> None:
    result = run(f"@explored({options})" + LOST_UPDATE)
    assert failure(result)[0].startswith(f"explore: {told}")


def test_a_fixture_cannot_build_what_tasks_share(run: Run) -> None:
    source = """
    @pytest.fixture
    def counter(explore):
        return Counter(explore.scheduler)

    def test_it(explore, counter):
        pass
    """
    result = run(source)
    result.assert_outcomes(errors=1)
    assert any(
        "explore.scheduler is there in the body of the test only" in line
        for line in result.outlines
    )


@pytest.mark.parametrize(
    ("use", "called"),
    [("await trio.sleep(1)", "sleep"), ("await trio.Event().wait()", "wait")],
)
def test_a_task_that_waits_in_trio_is_named(run: Run, use: str, called: str) -> None:
    source = f"""
    def test_it(explore):
        counter = Counter(explore.scheduler)

        async def body():
            await counter.add()
            {use}

        explore.task("a", counter.add)
        explore.task("b", body)
    """
    told = failure(run(source))
    assert told[0].startswith(f"b calls {called} of Trio: test_it.py:")
    assert told[0].endswith(use)


@pytest.mark.slow
def test_a_task_that_breaks_trio_is_told_so(
    run: Run, pytester: pytest.Pytester
) -> None:
    run("")
    source = """
    def test_it(explore):
        counter = Counter(explore.scheduler)

        async def body():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(counter.add)

        explore.task("a", body)

    def test_after(explore):
        three_in_turn(explore)
    """
    pytester.makepyfile(test_it=PRELUDE + dedent(source))
    result = pytester.runpytest_subprocess(*LOADED, "-p", "no:xdist")
    result.assert_outcomes(passed=1, failed=1)
    assert failure(result)[0] == "explore: a task breaks Trio."


# With other plugins, and without.

ASYNC = """
async def test_it(explore):
    three_in_turn(explore)
"""


@pytest.mark.parametrize(
    "arguments", [(), ("-o", "trio_mode=true"), ("-p", "no:trio")], ids=str
)
def test_an_async_body_is_called_by_nobody_else(
    run: Run, arguments: tuple[str, ...]
) -> None:
    result = run(ASYNC, "-v", *arguments)
    result.assert_outcomes(passed=1)
    assert summary(result)[0].startswith("test_it.py::test_it: all 6 orders: ")


def test_a_body_marked_for_trio_is_explored(run: Run) -> None:
    result = run("@pytest.mark.trio" + ASYNC, "-v")
    result.assert_outcomes(passed=1)
    assert summary(result)[0].startswith("test_it.py::test_it: all 6 orders: ")


def test_an_async_body_may_not_wait(run: Run) -> None:
    source = """
    async def test_it(explore):
        await trio.sleep(0)
    """
    assert failure(run(source))[0].startswith("explore: the body of the test waits in")


def test_an_async_fixture_is_refused(run: Run) -> None:
    source = """
    @pytest.fixture
    async def counter():
        return 3

    async def test_it(explore, counter):
        pass
    """
    result = run(source, "-o", "trio_mode=true")
    assert failure(result)[0].startswith("explore: the fixture counter is asynchronous")


def test_fixtures_parameters_and_classes_are_as_ever(run: Run) -> None:
    source = """
    class TestIt:
        adders = 2

        @pytest.mark.parametrize("first", [0, 1])
        def test_it(self, explore, tmp_path, first):
            assert tmp_path.exists()
            counter = Counter(explore.scheduler)
            counter.value = first
            for index in range(self.adders):
                explore.task(str(index), counter.add)
            explore.at_end(lambda: counter.value in (first + 1, first + 2))
    """
    result = run(source)
    result.assert_outcomes(passed=2)
    assert summary(result)[0].startswith("2 tests: 2 exhausted; ")


def test_somebody_elses_fixture_of_this_name_is_left_alone(run: Run) -> None:
    source = """
    @pytest.fixture
    def explore():
        return 3

    def test_it(explore):
        assert explore == 3
    """
    result = run(source, "-v")
    result.assert_outcomes(passed=1)
    assert not any("explored orders" in line for line in result.outlines)


@pytest.mark.slow
def test_workers_tell_what_they_have_explored(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=PRELUDE + LOST_UPDATE, test_too=PRELUDE + IN_TURN)
    result = pytester.runpytest_subprocess(*LOADED, "-v", "-n", "2")
    result.assert_outcomes(passed=1, failed=1)
    one, two, total = summary(result)
    assert one.startswith("test_it.py::test_it: broken in 4 steps, 1 preemption,")
    assert two.startswith("test_too.py::test_it: all 6 orders: ")
    assert total.startswith("2 tests: ")


def test_the_plugin_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert MODULE in project["entry-points"]["pytest11"].values()


@pytest.mark.slow
def test_the_plugin_imports_nothing_until_it_is_used() -> None:
    script = f"import pytest, sys, {MODULE}; print(*sorted(sys.modules))"
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"trio", "attrs", "msgspec", "scenarios.explorer.trial"}
