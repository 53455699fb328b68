"""The verdict on a log as a small proof, made from its records.

A violation is told as: let this have happened, then that; but now this happens; so the
rule is broken. The records are those that the checker names, and no others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs

from rcu.trace import Record
from rcu.tracepoints import RuleWasBroken, TaskStuck
from scenarios.checkers.checker import Violation
from scenarios.checkers.judge import Judge, Judgement, Verdict
from scenarios.errors import InputError
from scenarios.logbook.check import check_log
from scenarios.logbook.reader import LogReader
from scenarios.printable import printable
from scenarios.report.bars import Bars
from scenarios.report.causes import Numbered, telling
from scenarios.report.picture import SetState
from scenarios.report.rules import RULES, TERMS, Rule
from scenarios.report.sentences import sentence
from scenarios.report.set_bars import SetBars

MOST_OF_A_STEP = 2_000
"""Records of one step that are looked through; setting up is one step."""

MOST_TERMS = 5


@attrs.frozen
class Line:
    """A line of a proof.

    Attributes:
        head: ``let``, ``then``, ``but``, ``until`` or ``so``.
        text: A sentence, without its end.
        at: The record that it is made from; None for the conclusion.
    """

    head: str
    text: str
    at: Numbered | None = None


@attrs.frozen
class Proof:
    """Why a violation is one.

    Attributes:
        violation: What was found.
        lines: The proof.
        rule: What is known of the rule; None if it is one of somebody's own.
        before_step: The first step of the proof.
        before: The sets before it.
        after_step: The last step of the proof.
        after: The sets after it.
    """

    violation: Violation
    lines: tuple[Line, ...]
    rule: Rule | None
    before_step: int
    before: tuple[SetState, ...]
    after_step: int
    after: tuple[SetState, ...]

    @property
    def records(self) -> list[Numbered]:
        """The records that the proof is made from, in the order of the log."""
        found = {line.at.seq: line.at for line in self.lines if line.at is not None}
        return [found[seq] for seq in sorted(found)]

    @property
    def terms(self) -> dict[str, str]:
        """What the kernel's words in it mean."""
        text = " ".join([*(line.text for line in self.lines), self.violation.why])
        used = (
            (word, meaning)
            for word, meaning in TERMS.items()
            if re.search(rf"(?<!\w){re.escape(word)}", text)
        )
        return dict(list(used)[:MOST_TERMS])


@attrs.frozen
class Account:
    """What is to be said of a log.

    Attributes:
        name: What to call it.
        header: Its first line.
        judgement: What all checkers say.
        proof: Of one violation; None if there is none.
        number: Which of the violations it is, from 1.
    """

    name: str
    header: dict[str, Any]
    judgement: Judgement
    proof: Proof | None
    number: int

    @property
    def scenario(self) -> str:
        """What was run."""
        return printable(str(self.header.get("scenario", "")), 80)


def account_of(reader: LogReader, number: int = 1) -> Account:
    """Say of a log what there is to say.

    Args:
        reader: The log; it is read twice, so it must be a file.
        number: Which of the violations is to be proved, from 1, in their order.

    Raises:
        InputError: The log cannot be read, is none, or does not have so many.
    """
    judgement = check_log(reader.path)
    if not judgement.violations:
        if number > 1:
            raise InputError(f"{reader.name}: there is no violation {number}")
        for _ in reader.records():
            break  # it follows the header
        return Account(reader.name, reader.header, judgement, None, number)
    if number > len(judgement.violations):
        raise InputError(
            f"{reader.name}: there is no violation {number}; there are"
            f" {len(judgement.violations)} to choose from"
        )
    try:
        proof = _prove(reader, judgement.violations[number - 1])
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{reader.name}: its events cannot be told of: {error!r}"
        ) from error
    return Account(reader.name, reader.header, judgement, proof, number)


def _prove(reader: LogReader, violation: Violation) -> Proof:
    steps = (*violation.causes, violation.step)
    kept: dict[int, list[Numbered]] = {step: [] for step in steps}
    sets = SetBars(Bars())
    judge = Judge()
    before: tuple[SetState, ...] | None = None
    broken: Numbered | None = None
    for seq, record in enumerate(reader.records(), 1):
        if broken is not None and record.step != broken.record.step:
            break
        if before is None and record.step >= steps[0]:
            before = _states(sets)
        draw = sets.handlers.get(type(record.event))
        if draw is not None:
            draw(seq, record.step, record.actor, record.event)
        each = Numbered(seq, record)
        of_step = kept.get(record.step)
        if of_step is not None and len(of_step) < MOST_OF_A_STEP:
            of_step.append(each)
        if broken is None:
            judge.read((record,))
            late = record.step >= violation.step and judge.violated
            if late and violation in judge.conclude().violations:
                broken = each
    assert broken is not None  # the same checkers have found it before
    return Proof(
        violation,
        tuple(_lines(violation, kept, broken)),
        RULES.get(violation.checker),
        steps[0],
        before or (),
        broken.record.step,
        _states(sets),
    )


def _states(sets: SetBars) -> tuple[SetState, ...]:
    sets.begin()
    return sets.base


def _lines(
    violation: Violation, kept: dict[int, list[Numbered]], broken: Numbered
) -> Iterator[Line]:
    """The proof, line by line."""
    head = "let"
    for step in violation.causes:
        each = telling(violation, kept[step])
        if each is None:
            yield Line(head, f"step {step:,} is made, of which the log tells no more")
        else:
            yield Line(head, sentence(each.record), each)
        head = "then"
    seen = printable(violation.seen, 1_000)
    if isinstance(broken.record.event, RuleWasBroken | TaskStuck):
        yield Line("but", seen, broken)
        yield Line("so", _end_of(broken.record))
        return
    breaking: Numbered | None = broken
    if broken.record.step != violation.step:
        breaking = telling(violation, kept[violation.step])
    if breaking is not None:
        yield Line("but", sentence(breaking.record), breaking)
    if breaking is not broken:
        yield Line("until", f"{sentence(broken.record)}, and it is too late", broken)
    yield Line("so", seen)


def _end_of(record: Record) -> str:
    if isinstance(record.event, TaskStuck):
        return "nobody is left who could let it go on, and the run ends"
    return "the rule is broken, and the run ends"


def meaning_of(judgement: Judgement) -> str:
    """What a verdict without a violation says, and what it does not."""
    if judgement.verdict is Verdict.HOLDS:
        return (
            "Each rule below was put to the test so many times in this run, and was"
            " kept each time. That is said of the one order in which the steps of this"
            " run were made; another order may still break a rule."
        )
    return (
        "No rule was broken as far as this log goes, but it shows less than it should,"
        " so that nothing is said of what it does not show."
    )
