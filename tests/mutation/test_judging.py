"""Mutants that are noticed, are not, or never end; and what is refused."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.architecture.pages import ROOT
from tests.mutation import __main__ as command
from tests.mutation.judging import Fate, InPlaceOf, fate_of

MODULE = "memslots/indexes/errors.py"


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (0, Fate.SURVIVED),
        (1 << 8, Fate.KILLED),
        (signal.SIGSEGV, Fate.KILLED),
        (signal.SIGPROF, Fate.TIMED_OUT),
        (signal.SIGALRM, Fate.TIMED_OUT),
    ],
)
def test_how_a_child_ends_says_what_became_of_its_mutant(
    status: int, fate: Fate
) -> None:
    assert fate_of(status) is fate


def test_only_the_module_itself_is_found_changed() -> None:
    finder = InPlaceOf("rcu/locks.py", "LIMIT = 3")
    assert finder.find_spec("rcu.rcuwait", None) is None
    spec = finder.find_spec("rcu.locks", None)
    assert spec is not None
    assert spec.loader is not None
    assert spec.origin == str(ROOT / "rcu/locks.py")
    code = spec.loader.get_code("rcu.locks")  # type: ignore[attr-defined]
    namespace: dict[str, object] = {}
    exec(code, namespace)  # noqa: S102 - the text above
    assert namespace["LIMIT"] == 3


# In a process of its own: it forks, and has imported nothing of ours before.
_JUDGES = """
from tests.architecture.pages import ROOT
from tests.mutation.judging import judge
from tests.mutation.mutants import Mutant
from tests.mutation.targets import Target

source = (ROOT / {module!r}).read_text()
mutants = [
    Mutant({module!r}, "", before, before, after, source.replace(before, after))
    for before, after in {texts!r}
]
target = Target({module!r}, ("tests/memslots/indexes/test_errors.py",))
for each in judge(target, mutants, jobs=2):
    print(f"{{each.mutant.operator}}: {{each.fate.value}}")
"""


@pytest.mark.slow
def test_tests_judge_changed_functions_and_changed_classes() -> None:
    texts = [
        ("self.rule = rule", "self.rule = dump"),
        ("super().__init__(rule + dump)", 'super().__init__(rule + dump + "")'),
        ("len(keys) - len(shown)", "sum(iter(int, 1))"),
        ("DUMP_LIMIT = 64", "DUMP_LIMIT = 65"),
        ("(Exception)", "(RuntimeError)"),
    ]
    assert all(before in (ROOT / MODULE).read_text() for before, _ in texts)
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _JUDGES.format(module=MODULE, texts=texts)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(done.stdout.splitlines()) == [
        "(Exception): survived",
        "DUMP_LIMIT = 64: killed",
        "len(keys) - len(shown): timed out",
        "self.rule = rule: killed",
        "super().__init__(rule + dump): survived",
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (
            ["rcu/lock.py"],
            "nothing is mutated in 'rcu/lock.py'; modules are in memslots",
        ),
        (["--record", "rcu"], "--record needs all modules"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    assert command.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mutation: {why}")


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_what_is_no_number_is_refused(
    capsys: pytest.CaptureFixture[str], number: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main([f"--every={number}"])
    assert refused.value.code == 2
    why = f"argument --every: must be a number of at least 1, got {number}"
    assert why in capsys.readouterr().err
