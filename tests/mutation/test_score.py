"""What the tables say of mutants that were judged."""

from __future__ import annotations

import pytest

from tests.mutation.judging import Fate, Judged
from tests.mutation.mutants import Mutant
from tests.mutation.score import Score, outdated, score, table, unexplained
from tests.mutation.survivors import Survivor

KILLED, SLOW, ALIVE = Fate.KILLED, Fate.TIMED_OUT, Fate.SURVIVED


def judged(line: str, fate: Fate, module: str = "m.py") -> Judged:
    return Judged(Mutant(module, "f", "AddNot", line, f"not {line}", "..."), fate)


def survivor(
    line: str, *, equivalent: bool = False, module: str = "m.py", after: str = ""
) -> Survivor:
    changed = after or f"not {line}"
    return Survivor(module, "f", "AddNot", line, changed, "because", equivalent)


def test_a_mutant_that_nobody_can_notice_does_not_count() -> None:
    found = [
        judged("a", KILLED),
        judged("b", SLOW),
        judged("c", ALIVE),
        judged("d", ALIVE),
        judged("e", ALIVE),
    ]
    known = [survivor("c", equivalent=True), survivor("d")]
    counted = score(found, known)
    assert counted == Score(killed=1, timed_out=1, survived=2, equivalent=1)
    assert (counted.mutants, counted.percent) == (5, 50.0)


def test_what_is_called_equivalent_and_is_killed_counts_as_killed() -> None:
    known = [survivor("a", equivalent=True)]
    assert score([judged("a", KILLED)], known) == Score(killed=1)


def test_where_nothing_can_be_noticed_everything_is() -> None:
    assert Score().percent == 100.0
    assert Score(equivalent=2).percent == 100.0


def test_the_table_adds_up_and_rounds_down() -> None:
    scores = {"a.py": Score(8999, 0, 1001, 3), "b.py": Score(1, 1)}
    assert table(scores)[2:] == [
        "| `a.py` | 10003 | 8999 | 0 | 1001 | 3 | 89.9 % |",
        "| `b.py` | 2 | 1 | 1 | 0 | 0 | 100.0 % |",
        "| all | 10005 | 9000 | 1 | 1001 | 3 | 89.9 % |",
    ]


@pytest.mark.parametrize(
    "known",
    [
        survivor("a", module="n.py"),
        survivor("b"),
        survivor("a", after="never a"),
    ],
)
def test_only_the_same_change_of_the_same_line_is_explained(known: Survivor) -> None:
    alive = judged("a", ALIVE)
    assert unexplained([alive, judged("b", KILLED)], [known]) == [alive]
    assert unexplained([alive], [known, survivor("a")]) == []


def test_a_survivor_that_is_killed_by_now_is_told() -> None:
    gone, lives, elsewhere = survivor("a"), survivor("b"), survivor("a", module="n.py")
    found = [judged("a", KILLED), judged("b", KILLED), judged("b", ALIVE)]
    assert outdated(found, [gone, lives, elsewhere]) == [gone]
