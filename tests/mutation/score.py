"""How many mutants of each module the tests notice, as a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import attrs

from tests.mutation.judging import Fate, Judged
from tests.mutation.survivors import Survivor, explanation

ENOUGH = 90
"""Percent of the mutants that can be noticed."""

HEADER = (
    "| module | mutants | killed | timed out | survived | equivalent | score |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
)


@attrs.frozen
class Score:
    """What became of the mutants of a module, or of several.

    Attributes:
        killed: How many made a test fail.
        timed_out: How many made the tests compute for too long: noticed, too.
        survived: How many did neither, although they change something.
        equivalent: How many did neither, and are known to change nothing.
    """

    killed: int = 0
    timed_out: int = 0
    survived: int = 0
    equivalent: int = 0

    @property
    def mutants(self) -> int:
        """All of them."""
        return self.killed + self.timed_out + self.survived + self.equivalent

    @property
    def percent(self) -> float:
        """How many of those that can be noticed are noticed, of a hundred."""
        noticed = self.killed + self.timed_out
        could_be = noticed + self.survived
        return 100 * noticed / could_be if could_be else 100.0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.killed + other.killed,
            self.timed_out + other.timed_out,
            self.survived + other.survived,
            self.equivalent + other.equivalent,
        )

    def row(self, name: str) -> str:
        """A row of the table; a score is rounded down, so that 90.0 is 90."""
        counts = (
            self.mutants,
            self.killed,
            self.timed_out,
            self.survived,
            self.equivalent,
        )
        percent = int(self.percent * 10) / 10
        return f"| {name} | {' | '.join(map(str, counts))} | {percent:.1f} % |"


def score(judged: Iterable[Judged], known: Collection[Survivor]) -> Score:
    """Count what became of some mutants.

    Args:
        judged: The mutants.
        known: Which of them are equivalent.
    """
    total = Score()
    for each in judged:
        why = explanation(each.mutant, known)
        match each.fate:
            case Fate.KILLED:
                total += Score(killed=1)
            case Fate.TIMED_OUT:
                total += Score(timed_out=1)
            case Fate.SURVIVED if why is not None and why.equivalent:
                total += Score(equivalent=1)
            case Fate.SURVIVED:
                total += Score(survived=1)
    return total


def table(scores: dict[str, Score]) -> list[str]:
    """The lines of the table, and all of them together in the last.

    Args:
        scores: By module.
    """
    total = sum(scores.values(), start=Score())
    rows = [each.row(f"`{module}`") for module, each in scores.items()]
    return [*HEADER, *rows, total.row("all")]


def unexplained(judged: Iterable[Judged], known: Sequence[Survivor]) -> list[Judged]:
    """The survivors that the list does not know."""
    return [
        each
        for each in judged
        if each.fate is Fate.SURVIVED and explanation(each.mutant, known) is None
    ]


def outdated(judged: Collection[Judged], known: Iterable[Survivor]) -> list[Survivor]:
    """What the list calls a survivor although all mutants that it may mean are killed.

    Args:
        judged: All mutants of some modules.
        known: The list.
    """
    modules = {each.mutant.module for each in judged}
    alive = [each.mutant for each in judged if each.fate is Fate.SURVIVED]
    return [
        each
        for each in known
        if each.module in modules and not any(map(each.is_it, alive))
    ]
