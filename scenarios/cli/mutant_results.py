"""Mutants, and what came of them, as text, as JSON and as JUnit's XML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import attrs
from rich.console import Console
from rich.text import Text

from scenarios.cli import junit, terminal
from scenarios.cli.findings import NARROW
from scenarios.cli.terminal import hang, one_line
from scenarios.explorer.blocks import tell_blocks
from scenarios.mutants.batch import Batch, Results
from scenarios.mutants.mutant import Limit, Mutant
from scenarios.mutants.registry import Registered
from scenarios.mutants.schedules import path_of
from scenarios.mutants.story import MutantStory
from scenarios.mutants.trying import Tried, TwinTried

_COLOURS = {"killed": "green", "survived": "bold red", "misjudged": "bold red"}


# All there are.


def print_list(
    console: Console, mutants: Sequence[Registered], limits: Sequence[Limit]
) -> None:
    """Print the mutants by family, and what is not promised."""
    ids = max(len(each.mutant.id) for each in mutants)
    checkers = max(len(each.mutant.checker) for each in mutants)
    for family, members in groupby(mutants, key=lambda each: each.family):
        console.print(Text(one_line(family), style="bold"))
        for each in members:
            head = f"  {each.mutant.id:<{ids}}  {each.mutant.checker:<{checkers}}  "
            console.print(hang(console, head, one_line(each.mutant.title)))
        console.print()
    if limits:
        console.print(Text("not promised (these scenarios hold)", style="bold"))
        for limit in limits:
            head = f"  {limit.id:<{ids}}  "
            console.print(hang(console, head, f"{limit.title} ({limit.scenario})"))
        console.print()
    console.print(
        f"{len(mutants)} mutants; 'memslots mutants show {mutants[0].mutant.id}' tells"
        " the story of one, 'memslots mutants run' tries them"
    )


def list_as_dict(
    mutants: Iterable[Registered], limits: Iterable[Limit]
) -> dict[str, object]:
    """What ``--format json`` prints of all."""
    return {
        "mutants": [_mutant_as_dict(each) for each in mutants],
        "limits": [attrs.asdict(limit) for limit in limits],
    }


def _mutant_as_dict(registered: Registered) -> dict[str, object]:
    mutant = registered.mutant
    return {
        "id": mutant.id,
        "family": registered.family,
        "title": mutant.title,
        "step": mutant.step.value,
        "why": mutant.why,
        "provenance": attrs.asdict(mutant.provenance),
        "scenario": mutant.scenario,
        "checker": mutant.checker,
        "preemptions": mutant.preemptions,
        "unseen_in": mutant.unseen_in,
    }


# While they are tried.


class Trying:
    """Tells of each that was tried, on standard error.

    Args:
        batch: What is tried.
        wanted: Whether anybody wants to know.
    """

    def __init__(self, batch: Batch, *, wanted: bool) -> None:
        self._count = len(batch.wanted) + len(batch.twins)
        self._done = 0
        self._console = terminal.stderr() if wanted else None

    def note(self, tried: Tried | TwinTried) -> None:
        """Tell of one."""
        self._done += 1
        if self._console is None:
            return
        width = len(str(self._count))
        who, what = _named(tried)
        self._console.print(
            f"{self._done:>{width}}/{self._count}  {one_line(f'{who}: {what}')},"
            f" {tried.seconds:.1f} s"
        )


def _named(tried: Tried | TwinTried) -> tuple[str, str]:
    if isinstance(tried, TwinTried):
        holds = "holds" if tried.holds else f"FAILS ({tried.seen or tried.bound})"
        return f"twin {tried.scenario}", holds
    return tried.id, _fate(tried)


def _fate(tried: Tried) -> str:
    if not tried.killed_by:
        return f"survived ({tried.bound})"
    preemptions = f"{tried.preemptions} preemption{'s' * (tried.preemptions != 1)}"
    return f"{tried.fate} by {tried.killed_by} with {preemptions}"


# What came of them.


def print_results(
    console: Console,
    wanted: Sequence[Registered],
    results: Results,
    without: str | None,
) -> None:
    """Print a table, what is wrong, and a line that counts."""
    rows = [("id", "killed by", "orders", "switches", "time", "what is broken")]
    rows += [
        _row(each.mutant, tried)
        for each, tried in zip(wanted, results.mutants, strict=True)
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    fates = ["", *(tried.fate for tried in results.mutants)]
    for row, fate in zip(rows, fates, strict=True):
        id_, by, *numbers = (
            f"{cell:<{width}}" if place < 2 else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        )
        head = "  ".join((id_, by, *numbers, ""))
        line = Text(hang(console, head, one_line(row[5])))
        line.stylize(_COLOURS.get(fate, ""), len(id_) + 2, len(id_) + 2 + len(by))
        console.print(line)
    console.print()
    for text in _complaints(wanted, results):
        console.print(hang(console, "", one_line(text)))
    console.print(_summary(results, without))


def _row(mutant: Mutant, tried: Tried) -> tuple[str, str, str, str, str, str]:
    return (
        mutant.id,
        tried.killed_by or tried.fate,
        f"{tried.orders:,}",
        "" if tried.switches is None else str(tried.switches),
        f"{tried.seconds:.2f} s",
        mutant.title,
    )


def _complaints(wanted: Sequence[Registered], results: Results) -> Iterator[str]:
    for each, tried in zip(wanted, results.mutants, strict=True):
        mutant = each.mutant
        if tried.fate == "survived":
            yield f"{mutant.id} survived: {mutant.checker} saw nothing ({tried.bound})"
        elif tried.fate == "misjudged":
            stated = mutant.checker
            if mutant.preemptions is not None:
                stated += f" with {mutant.preemptions} preemptions"
            yield f"{mutant.id} is {_fate(tried)}, not by {stated}: {tried.seen}"
    for twin in results.twins:
        if not twin.holds:
            yield f"the twin in {twin.scenario} fails: {twin.seen or twin.bound}"


def _summary(results: Results, without: str | None) -> str:
    killed = sum(tried.fate == "killed" for tried in results.mutants)
    counted = f"{killed} of {len(results.mutants)} mutants killed"
    if without is not None:
        return f"{counted} without {without}"
    held = sum(twin.holds for twin in results.twins)
    return f"{counted}; {held} of {len(results.twins)} twins hold"


def results_as_dict(
    wanted: Sequence[Registered], results: Results, without: str | None
) -> dict[str, object]:
    """What ``--format json`` prints of what came of them."""
    return {
        "good": results.is_good,
        "without": without,
        "mutants": [
            {"title": each.mutant.title, "checker": each.mutant.checker}
            | {"family": each.family}
            | _tried_as_dict(tried)
            for each, tried in zip(wanted, results.mutants, strict=True)
        ],
        "twins": [
            attrs.asdict(twin) | {"seconds": round(twin.seconds, 3)}
            for twin in results.twins
        ],
    }


def _tried_as_dict(tried: Tried) -> dict[str, object]:
    return attrs.asdict(tried) | {
        "killed_by": tried.killed_by or None,
        "seen": tried.seen or None,
        "seconds": round(tried.seconds, 3),
    }


def as_junit(wanted: Sequence[Registered], results: Results) -> str:
    """The document that CI systems read."""
    mutants = [
        _case(each.family, f"{tried.id}: {each.mutant.title}", tried)
        for each, tried in zip(wanted, results.mutants, strict=True)
    ]
    twins = [_case("twins", twin.scenario, twin) for twin in results.twins]
    suites = [junit.Suite("mutants", mutants), junit.Suite("twins", twins)]
    return junit.document("memslots mutants", suites)


def _case(group: str, name: str, tried: Tried | TwinTried) -> junit.Case:
    good = tried.holds if isinstance(tried, TwinTried) else tried.fate == "killed"
    outcome: junit.Outcome = "passed" if good else "failure"
    return junit.Case(group, name, outcome, _named(tried)[1], tried.seconds)


# The story of one.


def print_story(console: Console, registered: Registered, story: MutantStory) -> None:
    """Print what is broken, why it matters, and the shortest order that shows it."""
    mutant = registered.mutant
    line = Text(hang(console, f"{mutant.id}: ", one_line(mutant.title)))
    line.stylize("bold", 0, len(mutant.id) + 1)
    console.print(line)
    console.print()
    console.print(hang(console, "", one_line(mutant.why)))
    console.print()
    facts = {
        "the step": mutant.step.value,
        "known from": str(mutant.provenance),
        "family": registered.family,
        "scenario": mutant.scenario,
        "must notice": mutant.checker,
    }
    width = max(map(len, facts))
    for label, value in facts.items():
        console.print(hang(console, f"  {label:<{width}}  ", one_line(value)))
    console.print()
    head = "violation"
    finding = story.finding
    line = Text(
        hang(console, f"{head} of ", f"{finding.checker}: {one_line(finding.seen)}")
    )
    line.stylize("red", 0, len(head))
    console.print(line)
    console.print(_counts(mutant, story))
    columns = console.width if console.is_terminal else NARROW
    for row in tell_blocks(story.steps, columns):
        console.print(row)
    console.print(hang(console, "", one_line(story.sentence)))
    console.print()
    console.print(hang(console, "the protocol as it is: ", one_line(_beside(story))))
    path = path_of(registered)
    if not registered.source and path.exists():
        terminal.write(f"Replay: memslots replay {path}\n")


def _counts(mutant: Mutant, story: MutantStory) -> str:
    steps, count = len(story.steps), story.preemptions
    text = f"{steps} steps, {count} preemption{'s' * (count != 1)}"
    if mutant.preemptions is None:
        return f"{text}; the scenario is too large to try all orders"
    return f"{text}; no order with fewer preemptions shows anything"


def _beside(story: MutantStory) -> str:
    """What the right protocol does in the same order."""
    count = len(story.steps)
    if not story.instead:
        return f"makes the same {count} steps, and nothing is broken"
    return f"makes the same first {story.alike} of {count} steps; {story.instead}"


def story_as_dict(registered: Registered, story: MutantStory) -> dict[str, object]:
    """What ``--format json`` prints of a story."""
    return _mutant_as_dict(registered) | {
        "seen": story.finding.seen,
        "story": story.sentence,
        "steps": [[step.name, step.does] for step in story.steps],
        "preemptions": story.preemptions,
        "alike": story.alike,
        "instead": story.instead or None,
    }
