"""What is mutated exists, and so do its judges."""

from __future__ import annotations

import pytest

from tests.architecture.pages import ROOT
from tests.architecture.sources import PACKAGES
from tests.mutation.targets import TARGETS, chosen


def test_each_module_and_each_judge_is_there() -> None:
    for target in TARGETS:
        assert (ROOT / target.module).is_file(), target.module
        assert target.judges, target.module
        for judge in target.judges:
            assert (ROOT / judge).exists(), judge


def test_no_module_is_mutated_twice() -> None:
    assert len({target.module for target in TARGETS}) == len(TARGETS)


def test_protocol_structures_and_checkers_are_mutated() -> None:
    modules = {target.module for target in TARGETS}
    rooms = {module.rpartition("/")[0] for module in modules}
    assert rooms == {
        "memslots",
        "memslots/indexes",
        "rcu",
        "rcu/srcu",
        "scenarios/checkers",
    }
    assert {"rcu/locks.py", "memslots/update.py"} <= modules
    assert all(module.partition("/")[0] in PACKAGES for module in modules)


def test_a_folder_stands_for_its_modules() -> None:
    assert [target.module for target in chosen(["rcu/srcu/", "rcu/locks.py"])] == [
        "rcu/srcu/counters.py",
        "rcu/srcu/domain.py",
        "rcu/srcu/grace_period.py",
        "rcu/locks.py",
    ]
    assert chosen([]) == list(TARGETS)


def test_a_name_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^nothing is mutated in 'rcu/lock'; modules"):
        chosen(["rcu/lock"])
