"""What pytest calls: the fixture and the marker ``explore``.

It is loaded by every pytest in an environment where this project is installed, so it
imports nothing until a test asks for the fixture, and it looks at no other test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeGuard

import pytest

FIXTURE = "explore"

MARKER = (
    "explore(strategy='exhaustive', ...): how the orders are chosen in which the tasks"
    " of a test that takes the fixture explore are run"
)

_BODY = pytest.StashKey[Callable[..., object]]()
_EXPLORED = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what can be asked on the command line."""
    group = parser.getgroup("explore", "orders of tasks (memslots)")
    group.addoption(
        "--explore-replay",
        metavar="ORDER",
        help="run the selected test in this order only: task x steps, as in 0x3,1x5",
    )
    group.addoption(
        "--explore-schedules",
        metavar="N",
        type=int,
        help="how many orders random, pct, pos and urw draw, whatever the marker says",
    )
    group.addoption(
        "--explore-seed",
        metavar="S",
        type=int,
        help="seed of the first of them, whatever the marker says",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker and refuse bad options.

    Raises:
        pytest.UsageError: An option has no use.
    """
    config.addinivalue_line("markers", MARKER)
    for option, least in (("--explore-schedules", 1), ("--explore-seed", 0)):
        value = config.getoption(option)
        if value is not None and value < least:
            raise pytest.UsageError(f"{option} must be at least {least}, got {value}")
    order = config.getoption("--explore-replay")
    if order is not None:
        from scenarios.explorer.blocks import read_order  # noqa: PLC0415 - seldom

        try:
            read_order(order)
        except ValueError as error:
            raise pytest.UsageError(f"--explore-replay: {error}") from None


class _ForTheBodyOnly:
    """Stands for ``explore`` until the body of the test is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        __tracebackhide__ = True
        pytest.fail(
            f"explore.{name} is there in the body of the test only, which may be called"
            " for each order anew: build what tasks share there, not in a fixture"
        )


@pytest.fixture(name=FIXTURE)
def _explore() -> Any:
    """Declare tasks that are run in every order: explore.task(name, async_function)."""
    return _ForTheBodyOnly()


def _takes_fixture(item: pytest.Item) -> TypeGuard[pytest.Function]:
    return isinstance(item, pytest.Function) and FIXTURE in item.fixturenames


def _refusal(session: pytest.Session) -> str | None:
    """Why an order cannot be replayed in the tests that are selected."""
    if session.config.getoption("--explore-replay") is None:
        return None
    count = sum(map(_takes_fixture, session.items))
    if count == 1:
        return None
    return (
        f"--explore-replay: an order belongs to one test, {count} of those selected"
        " take the fixture explore; name one"
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to replay one order in several tests.

    Raises:
        pytest.UsageError: Not exactly one test is selected that takes the fixture.
    """
    # A worker of pytest-xdist would die of it; there the tests fail one by one.
    if session.items and not hasattr(session.config, "workerinput"):
        text = _refusal(session)
        if text is not None:
            raise pytest.UsageError(text)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep the body before others, like pytest-trio, replace it by a run of it."""
    if _takes_fixture(item):
        item.stash[_BODY] = item.obj


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the tasks of a test in the orders that its marker asks for."""
    if not isinstance(pyfuncitem.funcargs.get(FIXTURE), _ForTheBodyOnly):
        return None
    refusal = _refusal(pyfuncitem.session)
    if refusal is not None:
        pytest.fail(refusal, pytrace=False)
    from scenarios.explorer.explored import (  # noqa: PLC0415 - see above
        explore,
        told_in_full,
    )

    __tracebackhide__ = told_in_full
    explored = pyfuncitem.stash[_EXPLORED] = {}
    explore(pyfuncitem, pyfuncitem.stash[_BODY], explored)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have the report say what was explored, from a worker of pytest-xdist, too."""
    report = yield
    if call.when == "call" and _EXPLORED in item.stash:
        vars(report)["explored"] = item.stash[_EXPLORED]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was explored: in total, and test by test if asked to."""
    reports = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "explored", None)
    ]
    if not reports:
        return
    terminalreporter.section("explored orders", "-")
    if terminalreporter.verbosity > 0:
        for report in sorted(reports, key=lambda report: report.nodeid):
            terminalreporter.line(f"{report.nodeid}: {report.explored['words']}")
    terminalreporter.line(_total([report.explored for report in reports]))


def _total(explored: Sequence[Mapping[str, Any]]) -> str:
    runs = sum(each["runs"] for each in explored)
    states = sum(each["states"] for each in explored)
    text = f"{_count(runs, 'order')} run"
    if states:
        text += f", {_count(states, 'state')} told apart"
    kinds = Counter(each["kind"] for each in explored)
    each_kind = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"{_count(len(explored), 'test')}: {each_kind}; {text}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
