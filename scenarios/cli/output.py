"""Results as text and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import msgspec
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from scenarios.checkers.checker import Violation
from scenarios.checkers.judge import CHECKERS, CheckerResult, Judgement, Verdict
from scenarios.cli.terminal import hang, one_line, stderr, write

Format = Literal["text", "json"]

_COLOURS = {
    Verdict.HOLDS: "bold green",
    Verdict.VIOLATION: "bold red",
    Verdict.INCONCLUSIVE: "bold yellow",
}

SHOWN = 5
"""Violations and mismatches that are printed; the rest is counted."""

TABLE_COLUMNS = 45
"""Columns that the table of checkers takes; a narrower terminal loses its indent."""


def print_json(value: object) -> None:
    """Print one JSON object and nothing else."""
    encoded = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    if not encoded.isascii() or "\x7f" in encoded:
        encoded = "".join(
            each if each.isprintable() or each == "\n" else _escaped(each)
            for each in encoded
        )
    write(encoded + "\n")


def _escaped(character: str) -> str:
    if character == "\x7f":
        return "\\u007f"  # JSON itself does not mind it
    return json.dumps(character)[1:-1]


def json_path(path: Path | None) -> str | None:
    """A path as JSON can hold it: what is not UTF-8 is replaced."""
    return None if path is None else os.fsencode(path).decode(errors="replace")


def judgement_as_dict(judgement: Judgement) -> dict[str, Any]:
    """What every JSON output says of a judgement."""
    return {
        "verdict": judgement.verdict.value,
        "reasons": judgement.reasons,
        "calls": judgement.calls,
        "mismatches": [attrs.asdict(each) for each in judgement.mismatches],
        "read_sections": judgement.read_sections,
        "grace_periods": judgement.grace_periods,
        "checkers": {
            id_: attrs.asdict(result) for id_, result in judgement.checkers.items()
        },
        "violations": [attrs.asdict(each) for each in judgement.violations],
    }


def facts(judgement: Judgement) -> dict[str, str]:
    """What a judgement counts, by label."""
    compared = judgement.checkers["results-match"].exercised
    equal = compared - len(judgement.mismatches)
    return {
        "memory-region calls": f"{judgement.calls:,}",
        "results as recorded": f"{equal:,} of {compared:,}",
        "read sections": f"{judgement.read_sections:,}",
        "grace periods": f"{judgement.grace_periods:,}",
    }


def print_title(console: Console, title: str, text: str) -> None:
    """Print what the rest is about."""
    title = one_line(title)
    line = Text(hang(console, f"{title}: " if text else title, one_line(text)))
    line.stylize("bold", 0, len(title))
    console.print(line)
    console.print()


def print_judgement(
    console: Console, judgement: Judgement, facts: Mapping[str, str], *, verbose: bool
) -> None:
    """Print a judgement as text.

    Args:
        console: Where.
        judgement: What the checkers have seen.
        facts: What there is to count, by label.
        verbose: Whether to print everything instead of the first few.
    """
    width = max(map(len, facts))
    for label, value in facts.items():
        console.print(hang(console, f"  {label:<{width}}  ", one_line(value)))
    console.print()
    _print_checkers(console, judgement.checkers)
    console.print()
    limit = 1 << 30 if verbose else SHOWN
    # A mismatch that is a violation is told as one.
    if verbose or not judgement.checkers["results-match"].violations:
        for mismatch in judgement.mismatches[:limit]:
            text = (
                f"{mismatch.region}: recorded {mismatch.expected}, the model returns"
                f" {mismatch.result}"
            )
            console.print(hang(console, f"  line {mismatch.line}: ", one_line(text)))
        _print_rest(console, len(judgement.mismatches) - limit, "mismatches")
    shown = judgement.violations[:limit]
    for violation in shown:
        print_violation(console, violation)
    count = sum(result.violations for result in judgement.checkers.values())
    _print_rest(console, count - len(shown), "violations")
    print_verdict(console, judgement)


def print_violation(console: Console, violation: Violation) -> None:
    """Print what was seen, by whom, in which step, and why it is wrong."""
    head = "violation"
    who = f"step {violation.step:,} by {one_line(violation.actor)}"
    line = Text(hang(console, f"{head} of ", f"{one_line(violation.checker)} in {who}"))
    line.stylize("red", 0, len(head))
    console.print(line)
    rows = {"seen": violation.seen}
    if violation.causes:
        word = "step" if len(violation.causes) == 1 else "steps"
        rows["after"] = f"{word} {', '.join(f'{step:,}' for step in violation.causes)}"
    rows |= {"rule": violation.why, "source": _source(violation.checker)}
    for label, text in rows.items():
        console.print(hang(console, f"  {label:<6}  ", one_line(text)))
    console.print()


def _source(checker: str) -> str:
    """Where the kernel states a rule; a checker may be somebody else's."""
    return CHECKERS[checker].source if checker in CHECKERS else "not one of ours"


def print_verdict(console: Console, judgement: Judgement) -> None:
    """Print the verdict in a line, and what it lacks."""
    text = one_line("; ".join(judgement.reasons))
    if judgement.verdict is Verdict.HOLDS:
        text = "every exercised rule held on this run; other orders may differ"
    print_verdict_line(console, judgement.verdict, text)


def print_verdict_line(console: Console, verdict: Verdict, text: str) -> None:
    """Print a verdict, and what it rests on or lacks."""
    word = verdict.value
    line = Text(hang(console, f"{word}: " if text else word, one_line(text)))
    line.stylize(_COLOURS[verdict], 0, len(word))
    console.print(line)


def print_notes(notes: Iterable[str]) -> None:
    """Print what is no result but should be known."""
    console = stderr()
    for note in notes:
        console.print(f"memslots: note: {one_line(note)}")


def _print_rest(console: Console, count: int, what: str) -> None:
    if count > 0:
        text = f"and {count:,} more {what} (-v shows more)"
        console.print(hang(console, "  ... ", text))
        console.print()


def _print_checkers(console: Console, results: Mapping[str, CheckerResult]) -> None:
    indent = "" if console.is_terminal and console.width < TABLE_COLUMNS else "  "
    width = max(map(len, results))
    console.print(f"{indent}{'checker':<{width}}  exercised  violations")
    for id_, result in results.items():
        style = "red" if result.violations else ("" if result.exercised else "dim")
        row = f"{id_:<{width}}  {result.exercised:>9,}  {result.violations:>10,}"
        console.print(indent + row, style=style)


class Progress:
    """Tells on a terminal how far long work has come; elsewhere nothing."""

    def __init__(self, what: str, *, wanted: bool, unit: str = "steps") -> None:
        console = stderr()
        self._what = one_line(what)
        self._unit = unit
        self._shown = wanted and console.is_terminal and bool(console.color_system)
        self._spinner = Spinner("dots", text=Text(self._what))
        # Our console writes to what sys.stderr is: redirected, that would be itself.
        self._live = Live(
            self._spinner,
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Callable[[int], None]:
        """Start; returns what to call with the number of units done."""
        if self._shown:
            self._live.start()
        return self._tell

    def __exit__(self, *error: object) -> None:
        """Leave the terminal as it was."""
        if self._shown:
            self._live.stop()

    def _tell(self, count: int) -> None:
        if self._shown:
            self.show(f"{count:,} {self._unit}")

    def show(self, text: str) -> None:
        """Show how far it has come."""
        if self._shown:
            self._spinner.update(text=Text(f"{self._what}: {text}"))
