"""Lets tests judge mutants, each in a process that is forked and thrown away.

The tests of a module are collected once, in a process that forks a child for each
mutant. The child changes the functions that it finds there, and runs the tests, those
that take least first. A mutant that changes more than functions has a child in which
nothing of ours was imported before. Nothing is written where the code lies.
"""

from __future__ import annotations

import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from types import CodeType, ModuleType
from typing import IO, Any

import attrs
import hypothesis
import pytest

from tests.architecture.pages import ROOT
from tests.mutation.mutants import Mutant
from tests.mutation.patching import Functions, changed_functions, code_of
from tests.mutation.targets import Target

_PRELOADED = (
    "_hypothesis_pytestplugin",
    "_pytest.doctest",
    "attrs",
    "cattrs",
    "cyclopts",
    "hypothesis.stateful",
    "msgspec",
    "pytest_trio",
    "rich",
    "structlog",
    "trio",
)
"""What tests import and no mutant changes."""

_ARGUMENTS = (
    "--exitfirst",
    "--quiet",
    "--tb=no",
    "-pno:cacheprovider",
    "-pno:xdist",
    "-Wignore:Module already imported:pytest.PytestAssertRewriteWarning",
)

_PATIENCE = 3
"""How many times longer than without a mutant a test may compute."""

_AT_LEAST = 0.5
"""Seconds that any test may compute, and that may pass before the first."""

_WAITING = 20
"""How many times longer than it may compute a test may take by the clock."""

_MEMORY = 4 << 30
_UNLIMITED = 300.0
_TOO_LONG = {signal.SIGPROF, signal.SIGALRM}
_NOT_ONLY_FUNCTIONS = -1


Seconds = dict[str, float]
"""What tests compute, by their ids."""


class Fate(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"


class TestsFail(Exception):  # noqa: N818 - what is the case
    """The tests of a module fail before anything in it has changed."""

    __test__ = False


@attrs.frozen
class Judged:
    """A mutant, and what became of it."""

    mutant: Mutant
    fate: Fate


def judge(
    target: Target, mutants: Sequence[Mutant], *, jobs: int = 1
) -> Iterator[Judged]:
    """Let the tests of a module judge its mutants.

    Args:
        target: The module.
        mutants: Which of its mutants.
        jobs: How many are judged at a time.

    Yields:
        Each mutant as soon as it has been judged.

    Raises:
        TestsFail: They fail without any mutant.
    """
    _preload()
    seconds: Seconds = {}
    others: list[Mutant] = []
    for told in _in_child(lambda pipe: _nursery(target, mutants, jobs, pipe)):
        if "status" not in told:
            seconds = told
        elif told["status"] == _NOT_ONLY_FUNCTIONS:
            others.append(mutants[told["mutant"]])
        else:
            yield Judged(mutants[told["mutant"]], fate_of(told["status"]))
    if not seconds:
        tests = " ".join(target.judges)
        raise TestsFail(f"{target.module} is as it should be, but {tests} fail")
    for place, status in _children(
        len(others), jobs, lambda at: _import_and_run(target, others[at], seconds)
    ):
        yield Judged(others[place], fate_of(status))


def fate_of(status: int) -> Fate:
    """What the status of a child, as `os.wait` gives it, says of its mutant."""
    if status == 0:
        return Fate.SURVIVED
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _TOO_LONG:
        return Fate.TIMED_OUT
    return Fate.KILLED


# Processes.


def _fork(body: Callable[[], int]) -> int:
    """Start a child that exits with what ``body`` returns; gives its process id."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = body()
        finally:
            os._exit(code)
    return pid


def _children(
    count: int, jobs: int, body: Callable[[int], int]
) -> Iterator[tuple[int, int]]:
    """Start a child for each number below ``count``, ``jobs`` at a time.

    Yields:
        Number and status of each, as they end.
    """
    running: dict[int, int] = {}
    started = 0
    while running or started < count:
        while started < count and len(running) < jobs:
            running[_fork(lambda: body(started))] = started  # noqa: B023 - run at once
            started += 1
        pid, status = os.wait()
        yield running.pop(pid), status


def _in_child(body: Callable[[IO[str]], int]) -> Iterator[dict[str, Any]]:
    """What a child tells while it runs, line by line."""
    reads, writes = os.pipe()

    def run() -> int:
        os.close(reads)
        with os.fdopen(writes, "w", buffering=1) as pipe:
            return body(pipe)

    pid = _fork(run)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        for line in pipe:
            yield json.loads(line)
    os.waitpid(pid, 0)


def _set_up() -> None:
    """Let a child be silent, modest, and not look for the smallest example."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.chdir(ROOT)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    hypothesis.settings.register_profile(
        "mutation",
        derandomize=True,
        deadline=None,
        database=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutation")


def _preload() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _PRELOADED:
            importlib.import_module(name)


# Mutants that change functions.


def _nursery(
    target: Target, mutants: Sequence[Mutant], jobs: int, pipe: IO[str]
) -> int:
    _set_up()
    plugin = _Nursery(target, mutants, jobs, pipe)
    return int(pytest.main([*_ARGUMENTS, *target.judges], [plugin]))


class _Nursery:
    """A plugin of pytest that runs the tests once for each mutant, in children.

    Tells how many seconds each test takes, and for each mutant the status of its child.
    """

    def __init__(
        self, target: Target, mutants: Sequence[Mutant], jobs: int, pipe: IO[str]
    ) -> None:
        self._file = ROOT / target.module
        self._mutants = mutants
        self._jobs = jobs
        self._pipe = pipe

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Judge, instead of running the tests here."""
        items = session.items
        seconds = self._measure(session)
        if not seconds:
            return True
        items.sort(key=lambda item: seconds[item.nodeid])
        self._tell(seconds)
        path = str(self._file)
        functions = Functions(path)
        whole = code_of(self._file.read_text(), path)
        gc.freeze()

        def body(place: int) -> int:
            new = code_of(self._mutants[place].source, path)
            functions.change(changed_functions(whole, new) or [])
            return _run(session, items, _Patience(seconds))

        possible: list[int] = []
        for place, mutant in enumerate(self._mutants):
            changes = changed_functions(whole, code_of(mutant.source, path))
            if changes is not None and functions.have(changes):
                possible.append(place)
            else:
                self._tell({"mutant": place, "status": _NOT_ONLY_FUNCTIONS})
        for at, status in _children(
            len(possible), self._jobs, lambda at: body(possible[at])
        ):
            self._tell({"mutant": possible[at], "status": status})
        return True

    def _measure(self, session: pytest.Session) -> Seconds:
        """Run the tests without a mutant; gives nothing if they fail."""

        def body(pipe: IO[str]) -> int:
            patience = _Patience(None)
            code = _run(session, session.items, patience)
            if not code:
                pipe.write(json.dumps(patience.took) + "\n")
            return code

        return next(iter(list(_in_child(body))), {})

    def _tell(self, what: Seconds) -> None:
        self._pipe.write(json.dumps(what) + "\n")


class _Patience:
    """Ends a child when one test takes too long; a plugin of pytest.

    Args:
        usual: What each test takes without a mutant; None if that is to be found out.

    Attributes:
        took: What each test that is over has computed.
    """

    def __init__(self, usual: Seconds | None) -> None:
        self._usual = usual
        self._seconds = _UNLIMITED
        self.took: Seconds = {}

    def begin(self, test: str = "") -> None:
        """Let a test begin, or what comes before the first."""
        if self._usual is not None:
            self._seconds = _AT_LEAST + _PATIENCE * self._usual.get(test, _AT_LEAST)
        signal.setitimer(signal.ITIMER_PROF, self._seconds)
        signal.setitimer(signal.ITIMER_REAL, _WAITING * self._seconds)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self.begin(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """It has ended."""
        left, _ = signal.getitimer(signal.ITIMER_PROF)
        self.took[nodeid] = self._seconds - left


def _run(
    session: pytest.Session, items: Sequence[pytest.Item], patience: _Patience
) -> int:
    """Run tests that have been collected, as far as the first that fails."""
    session.config.pluginmanager.register(patience)
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return 1
    return 0


# Mutants that change more.


def _import_and_run(target: Target, mutant: Mutant, seconds: Seconds) -> int:
    """Import the mutant in place of the module, and run the tests."""
    _set_up()
    patience = _Patience(seconds)
    patience.begin()
    changed = InPlaceOf(target.module, mutant.source)
    sys.meta_path.insert(0, changed)
    importlib.import_module(changed.name)  # before pytest finds it in its own way
    return int(pytest.main([*_ARGUMENTS, *target.judges], [patience]))


class InPlaceOf(importlib.abc.MetaPathFinder):
    """Finds a module as if its file had another text.

    Args:
        module: Its path.
        source: The text.
    """

    def __init__(self, module: str, source: str) -> None:
        self.name = module.removesuffix(".py").replace("/", ".")
        self.path = str(ROOT / module)
        self.source = source

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder.find_spec`."""
        if fullname != self.name:
            return None
        loader = _Loader(fullname, self.path, self.source)
        return importlib.util.spec_from_file_location(
            fullname, self.path, loader=loader
        )


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return code_of(self._source, self.path)
