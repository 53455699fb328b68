"""What a search of orders has shown, as text, as JSON and as schedules."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter

import attrs
from rich.console import Console
from rich.text import Text

from scenarios.checkers.judge import Verdict
from scenarios.cli import output, terminal
from scenarios.cli.keeping import EXPLORE, folder, keep_order
from scenarios.cli.terminal import hang, one_line
from scenarios.explorer.blocks import tell_blocks
from scenarios.explorer.exploration import Answer, Progress, Question, Shown
from scenarios.explorer.program import Program
from scenarios.explorer.story import Story, tell
from scenarios.plan import Plan
from scenarios.strategies.by_name import SAMPLERS

NARROW = 88
"""Columns of a story that goes to no terminal."""


@attrs.frozen
class Told:
    """A finding with its story.

    Attributes:
        shown: The finding, and an order that shows it.
        story: What the order does, and why it matters.
        schedule: Where the order is kept; None if it could not be.
    """

    shown: Shown
    story: Story
    schedule: Path | None


def length(shown: Shown) -> tuple[int, int]:
    """What makes an order short."""
    return shown.blocks, len(shown.order)


def tell_all(
    program: Program,
    plan: Plan,
    question: Question,
    answer: Answer,
    path: Path | None,
) -> list[Told]:
    """Tell of all findings, the one with the shortest order first, and keep the orders.

    Args:
        program: What was searched.
        plan: What it was made from.
        question: What was asked.
        answer: What was found.
        path: Where the first order goes, if that was said; the others get a number.

    Raises:
        InputError: An order cannot be written where it was told to go.
    """
    first = path
    if first is None:
        first = folder(EXPLORE, plan, question.strategy) / "schedule.json"
    told = []
    for number, shown in enumerate(sorted(answer.shown, key=length), start=1):
        place = first
        if number > 1:
            place = first.with_name(f"{first.stem}.{number}{first.suffix}")
        story = tell(program, shown.finding, shown.order)
        by = attrs.evolve(plan, strategy=question.strategy, seed=shown.seed or 0)
        keep_order(by, shown.order, shown.finding, place)
        told.append(Told(shown, story, place))
    return told


# Text.


def print_answer(
    plan: Plan, question: Question, answer: Answer, findings: list[Told]
) -> None:
    """Print what a search has shown."""
    console = terminal.stdout()
    what = f"strategy {question.strategy}"
    if plan.memslots == "array":
        what += ", slots in arrays"
    output.print_title(console, plan.scenario.name, what)
    bound = answer.bound
    if answer.verdict == "holds" and not answer.exhausted:
        bound += "; other orders may differ"
    output.print_verdict_line(console, Verdict(answer.verdict), bound)
    console.print()
    rows = dict(_facts(answer))
    width = max(map(len, rows))
    for label, value in rows.items():
        console.print(hang(console, f"  {label:<{width}}  ", value))
    for told in findings:
        console.print()
        _print_finding(console, told)


def _facts(answer: Answer) -> Iterator[tuple[str, str]]:
    runs = f"{answer.executions:,} in {answer.seconds:.2f} s"
    if answer.redundant:
        runs += f", {answer.redundant:,} of them given up"
    yield "runs", runs
    yield "steps", f"{answer.steps:,}"
    if answer.distinct_states is not None:
        yield "states", f"{answer.distinct_states:,}"
    if answer.distinct_traces is not None:
        yield "traces", f"{answer.distinct_traces:,}"
    if answer.interleavings is not None:
        covered = ", all covered" if answer.exhausted else ""
        yield "interleavings", f"{answer.interleavings:,}{covered}"


def _print_finding(console: Console, told: Told) -> None:
    shown, finding = told.shown, told.shown.finding
    head = "violation"
    line = Text(
        hang(console, f"{head} of ", f"{finding.checker}: {one_line(finding.seen)}")
    )
    line.stylize("red", 0, len(head))
    console.print(line)
    counts = (
        f"{shown.quality}: {_count(len(shown.order), 'step')} in"
        f" {_count(shown.blocks, 'block')}, {_count(shown.preemptions, 'preemption')}"
    )
    console.print(f"{counts} (!)" if shown.preemptions else counts)
    width = console.width if console.is_terminal else NARROW
    for row in tell_blocks(told.story.steps, width):
        console.print(row)
    console.print(hang(console, "", one_line(told.story.sentence)))
    if told.schedule is not None:
        terminal.write(f"Replay: memslots replay {shlex.quote(str(told.schedule))}\n")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# JSON.


def as_dict(
    plan: Plan, question: Question, jobs: int, answer: Answer, findings: Iterable[Told]
) -> dict[str, object]:
    """What ``--format json`` prints."""
    seeds = question.seeds
    told = [_finding_as_dict(each) for each in findings]
    return {
        "scenario": plan.scenario.name,
        "strategy": question.strategy,
        "seeds": [seeds.start, seeds.stop] if question.strategy in SAMPLERS else None,
        "jobs": jobs,
        "verdict": answer.verdict,
        "exhausted": answer.exhausted,
        "bound": answer.bound,
        "executions": answer.executions,
        "redundant": answer.redundant,
        "distinct_states": answer.distinct_states,
        "distinct_traces": answer.distinct_traces,
        "interleavings": answer.interleavings,
        "share": 1.0 if answer.exhausted else None,
        "seconds": round(answer.seconds, 3),
        "finding": told[0] if told else None,
        "findings": told,
    }


def _finding_as_dict(told: Told) -> dict[str, object]:
    shown = told.shown
    return {
        "checker": shown.finding.checker,
        "seen": shown.finding.seen,
        "minimal": shown.quality == "minimal",
        "preemptions": shown.preemptions,
        "blocks": shown.blocks,
        "steps": len(shown.order),
        "seed": shown.seed,
        "story": told.story.sentence,
        "schedule": output.json_path(told.schedule),
    }


# Progress.


class Searching(output.Progress):
    """Tells on a terminal how far a search has come.

    Args:
        what: The scenario.
        wanted: Whether anybody wants to know.
        resumed: Whether the search has begun before.
    """

    def __init__(self, what: str, *, wanted: bool, resumed: bool = False) -> None:
        super().__init__(what, wanted=wanted)
        self.last = Progress(executions=0, steps=0)
        self._began = perf_counter()
        self._first = None if resumed else self.last

    def note(self, progress: Progress) -> None:
        """Show what a search tells of itself."""
        if self._first is None:
            self._first, self._began = progress, perf_counter()
        self.last = progress
        seconds = perf_counter() - self._began
        self.show(", ".join(_told(progress, self._first, seconds)))


def _told(now: Progress, first: Progress, seconds: float) -> Iterator[str]:
    """How far it is, ``seconds`` after the first that was told of it."""
    made = now.executions - first.executions
    yield f"{now.executions:,} schedules"
    yield f"{made / max(seconds, 1e-9):,.0f} a second"
    if now.share is not None:
        yield f"{now.share:.0%}"
        gained = now.share - (first.share or 0)
        if gained > 0:
            yield f"about {_time(seconds * (1 - now.share) / gained)} left"
    yield _time(seconds)
    if now.level is not None:
        yield f"with {_count(now.level, 'preemption')}"
    if now.orders is not None:
        yield f"{now.orders:,} distinct orders"
    if now.states is not None:
        yield f"{now.states:,} states"


def _time(seconds: float) -> str:
    """As in 1:05:09, or 5 s.

    >>> _time(3909.2), _time(65.0), _time(4.9)
    ('1:05:09', '1:05', '4 s')
    """
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
