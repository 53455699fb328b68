"""Every invariant of the kernel's update has a checker that stands for it."""

from __future__ import annotations

import pytest

from scenarios.checkers.invariants import INVARIANTS, watchers
from scenarios.checkers.judge import CHECKERS


def test_the_invariants_are_numbered() -> None:
    assert list(INVARIANTS) == [f"I{number}" for number in range(1, 19)]


def test_every_invariant_is_watched_and_no_other() -> None:
    claimed = {number for kind in CHECKERS.values() for number in kind.invariants}
    assert claimed == INVARIANTS.keys()
    assert all(watchers(CHECKERS).values())


@pytest.mark.parametrize("id_", CHECKERS)
def test_a_checker_names_its_invariants_in_order(id_: str) -> None:
    order = list(INVARIANTS)
    named = [order.index(number) for number in CHECKERS[id_].invariants]
    assert named == sorted(set(named))
