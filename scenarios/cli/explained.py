"""Logs in words, as text and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
from rich.console import Console
from rich.text import Text

from memslots.slot import INVALID
from memslots.tracepoints import SlotData
from scenarios.checkers.judge import Verdict
from scenarios.cli import output
from scenarios.cli.terminal import hang, one_line
from scenarios.report.causes import Numbered
from scenarios.report.picture import SetState
from scenarios.report.proof import Account, Proof, meaning_of
from scenarios.report.rules import Rule, counted
from scenarios.report.set_bars import generation_text
from scenarios.report.words import plain, raw, slot_words

MOST_SLOTS = 12
"""Slots of a set that are shown, those that changed first."""

MOST_OTHERS = 5
"""Other violations of the log that are named."""


# A log.


def print_account(console: Console, account: Account, what: str) -> None:
    """Print what is to be said of a log.

    Args:
        console: Where.
        account: What there is to say.
        what: What the user calls the log.
    """
    scenario = account.scenario and f"a run of {account.scenario}"
    output.print_title(console, account.name, scenario)
    if account.proof is not None:
        _print_proof(console, account.proof)
        _print_others(console, account)
        _print_commands(console, account.proof, what)
        return
    _print_meaning(console, account)


def _print_proof(console: Console, proof: Proof) -> None:
    violation = proof.violation
    head = "violation"
    who = f"step {violation.step:,} by {one_line(violation.actor)}"
    checker = one_line(violation.checker)
    line = Text(hang(console, f"{head} of ", f"{checker} in {who}"))
    line.stylize("bold red", 0, len(head))
    console.print(line)
    console.print()
    last = len(proof.lines) - 1
    for number, told in enumerate(proof.lines):
        end = "." if number == last else ";"
        text = one_line(told.text)
        if told.at is not None:
            text += f" (step {told.at.record.step:,}, seq {told.at.seq:,})"
        console.print(_labelled(console, told.head, f"{text}{end}"))
    console.print(_labelled(console, "rule", f"{one_line(violation.why)}."))
    console.print()
    print_heading(console, "The records")
    for each in proof.records:
        _print_record(console, each)
    console.print()
    _print_sets(console, proof)
    if proof.rule is not None:
        print_heading(console, "Why it matters")
        console.print(hang(console, "  ", proof.rule.why))
        console.print()
    if proof.terms:
        print_heading(console, "Words")
        for word, meaning in proof.terms.items():
            console.print(hang(console, f"  {word}: ", meaning))
        console.print()
    if proof.rule is not None:
        print_sources(console, proof.rule)


def _labelled(console: Console, label: str, text: str) -> Text:
    line = Text(hang(console, f"  {label:<5} ", text))
    line.stylize("bold", 2, 2 + len(label))
    return line


def print_heading(console: Console, text: str) -> None:
    """Print what a paragraph is about."""
    console.print(Text(text, style="bold"))


def _print_record(console: Console, each: Numbered) -> None:
    record = each.record
    head = f"  seq {each.seq}  step {record.step}  {one_line(record.actor)}  "
    text = f"{record.event.name} {one_line(raw(record.event))}"
    console.print(hang(console, head, text))


def _print_sets(console: Console, proof: Proof) -> None:
    heading = f"The sets before step {proof.before_step:,}"
    heading += f" -> after step {proof.after_step:,}"
    print_heading(console, heading)
    rows = list(_set_rows(proof.before, proof.after))
    width = max((len(label) for label, _ in rows), default=0)
    for label, text in rows:
        console.print(hang(console, f"  {label:<{width}}  ", text))
    if not rows:
        console.print("  there were none yet")
    console.print()


def _set_rows(
    before: Iterable[SetState], after: Iterable[SetState]
) -> Iterator[tuple[str, str]]:
    """What each set was and is, and its slots: label, and both states."""
    was = {(each.as_id, each.set): each for each in before}
    now = {(each.as_id, each.set): each for each in after}
    spaces = {as_id for as_id, _ in (*was, *now)}
    for where in sorted({*was, *now}):
        as_id, number = where
        label = f"set {number}"
        if len(spaces) > 1:
            label += f" of address space {as_id}"
        old, new = was.get(where), now.get(where)
        yield label, _change(_state_words(old), _state_words(new))
        yield from _slot_rows(old, new)


def _state_words(state: SetState | None) -> str:
    if state is None:
        return "not there"
    active = "active" if state.active else "inactive"
    return f"{active}, {generation_text(state.generation)}"


def _slot_rows(old: SetState | None, new: SetState | None) -> Iterator[tuple[str, str]]:
    was, now = _by_id(old), _by_id(new)
    ids = sorted({*was, *now}, key=lambda id_: (was.get(id_) == now.get(id_), id_))
    for id_ in sorted(ids[:MOST_SLOTS]):
        text = _change(_slots_words(was.get(id_)), _slots_words(now.get(id_)))
        yield f"  slot {id_}", text
    more = len(ids) - MOST_SLOTS
    if more > 0:
        yield "  ...", f"and {more:,} more slots"


def _by_id(state: SetState | None) -> dict[int, list[SlotData]]:
    """The slots of a set by id; an id that a damaged set has twice has both."""
    found: dict[int, list[SlotData]] = {}
    for slot in () if state is None else state.slots:
        found.setdefault(slot.id, []).append(slot)
    return found


def _slots_words(slots: list[SlotData] | None) -> str:
    if not slots:
        return "no slot"
    return " and ".join(
        one_line(slot_words(slot).partition(f"slot {slot.id} ")[2]) for slot in slots
    )


def _change(old: str, new: str) -> str:
    return f"{old} (unchanged)" if old == new else f"{old} -> {new}"


def print_sources(console: Console, rule: Rule) -> None:
    """Print where a rule is stated, and where to read on."""
    rows = {
        "source": rule.source,
        "functions": ", ".join(rule.functions),
        "watch it in": ", ".join(rule.lessons),
    }
    for label, text in rows.items():
        if text:
            console.print(hang(console, f"  {label:<11}  ", text))
    console.print("  read")
    for text in rule.reading:
        console.print(hang(console, "    ", text))
    console.print()


def _print_others(console: Console, account: Account) -> None:
    violations = account.judgement.violations
    others = [
        (number, each)
        for number, each in enumerate(violations, 1)
        if number != account.number
    ]
    if not others:
        return
    count = sum(each.violations for each in account.judgement.checkers.values()) - 1
    print_heading(console, f"Other violations: {max(count, len(others)):,}")
    for number, each in others[:MOST_OTHERS]:
        head = f"  {number}  step {each.step:,}  {one_line(each.checker)}  "
        console.print(hang(console, head, one_line(each.seen)))
    if len(others) > MOST_OTHERS:
        console.print("  ...")
    console.print("  'memslots explain --violation N' explains another one")
    console.print()


def _print_commands(console: Console, proof: Proof, what: str) -> None:
    log = one_line(shlex.quote(what))
    checker = one_line(shlex.quote(proof.violation.checker))
    rows = {f"memslots timeline {log}": "to see it"}
    if proof.rule is not None:
        rows[f"memslots explain {checker}"] = "for the rule and who breaks it"
    width = max(map(len, rows))
    for command, what_for in rows.items():
        console.print(f"  {command:<{width}}  {what_for}")


def _print_meaning(console: Console, account: Account) -> None:
    judgement = account.judgement
    output.print_verdict_line(console, judgement.verdict, meaning_of(judgement))
    for reason in judgement.reasons:
        console.print(hang(console, "  - ", one_line(reason)))
    console.print()
    exercised = {
        id_: result.exercised
        for id_, result in judgement.checkers.items()
        if result.exercised
    }
    counts = [f"{count:,}" for count in exercised.values()]
    width = max(map(len, exercised), default=0)
    columns = max(map(len, counts), default=0)
    for (id_, _), count in zip(exercised.items(), counts, strict=True):
        head = f"  {id_:<{width}}  {count:>{columns}}  "
        console.print(hang(console, head, counted(id_)))
    unseen = [id_ for id_ in judgement.checkers if id_ not in exercised]
    if unseen:
        console.print()
        text = f"{', '.join(unseen)}: of these rules it says nothing"
        console.print(hang(console, "Never put to the test: ", text))
    console.print()
    if judgement.verdict is Verdict.HOLDS and account.scenario:
        scenario = one_line(shlex.quote(account.scenario))
        console.print(f"  memslots explore {scenario}  tries other orders")
    console.print("  memslots explain CHECKER  says what a rule is for")


def account_as_dict(account: Account) -> dict[str, object]:
    """What ``--format json`` prints of a log."""
    judgement, proof = account.judgement, account.proof
    return {
        "log": account.name.encode(errors="replace").decode(),
        "scenario": account.scenario,
        "verdict": judgement.verdict.value,
        "reasons": judgement.reasons,
        "meaning": None if proof is not None else meaning_of(judgement),
        "exercised": {
            id_: {
                "count": result.exercised,
                "counted": counted(id_) if proof is None else None,
            }
            for id_, result in judgement.checkers.items()
        },
        "violations": [attrs.asdict(each) for each in judgement.violations],
        "explained": None if proof is None else account.number,
        "proof": None if proof is None else _proof_as_dict(proof),
    }


def _proof_as_dict(proof: Proof) -> dict[str, object]:
    rule = proof.rule
    return {
        "checker": proof.violation.checker,
        "step": proof.violation.step,
        "actor": proof.violation.actor,
        "seen": proof.violation.seen,
        "rule": proof.violation.why,
        "causes": [line.at.record.step for line in _causing(proof) if line.at],
        "lines": [
            {
                "head": line.head,
                "text": line.text,
                "step": None if line.at is None else line.at.record.step,
                "seq": None if line.at is None else line.at.seq,
            }
            for line in proof.lines
        ],
        "records": [_record_as_dict(each) for each in proof.records],
        "before": _sets_as_dict(proof.before_step, proof.before),
        "after": _sets_as_dict(proof.after_step, proof.after),
        "why": None if rule is None else rule.why,
        "terms": proof.terms,
        "source": None if rule is None else rule.source,
        "functions": () if rule is None else rule.functions,
        "lessons": () if rule is None else rule.lessons,
        "reading": () if rule is None else rule.reading,
    }


def _causing(proof: Proof) -> Iterator[Any]:
    seen: set[int] = set()
    for line in proof.lines:
        if line.head in {"let", "then"} and line.at is not None:
            if line.at.record.step not in seen:
                yield line
            seen.add(line.at.record.step)


def _record_as_dict(each: Numbered) -> dict[str, object]:
    record = each.record
    fields: Mapping[str, object] = plain(record.event)
    place = {"seq": each.seq, "step": record.step, "actor": record.actor}
    return {**place, "event": record.event.name, "fields": fields}


def _sets_as_dict(step: int, states: Iterable[SetState]) -> dict[str, object]:
    return {
        "step": step,
        "sets": [
            {
                "as_id": state.as_id,
                "set": state.set,
                "active": state.active,
                "generation": state.generation,
                "slots": [
                    attrs.asdict(slot) | {"invalid": bool(slot.flags & INVALID)}
                    for slot in state.slots
                ],
            }
            for state in states
        ],
    }
