"""Rules and mutants in words, as text and as JSON."""

from __future__ import annotations

import shlex

import attrs
from rich.console import Console

from scenarios.checkers.invariants import INVARIANTS
from scenarios.checkers.judge import CHECKERS
from scenarios.cli import output
from scenarios.cli.explained import print_heading, print_sources
from scenarios.cli.terminal import hang, one_line
from scenarios.mutants.mutant import Mutant
from scenarios.mutants.registry import Registered, registered
from scenarios.report.rules import RULES, invariants_of


def print_rule(console: Console, id_: str) -> None:
    """Print what a checker judges, why, and who breaks it."""
    rule = RULES[id_]
    output.print_title(console, id_, f"{rule.sentence}.")
    console.print(hang(console, "", rule.why))
    console.print()
    if id_ not in CHECKERS:
        text = "no log can show it: 'memslots explore' finds it, by trying all orders"
        console.print(text)
        console.print()
    for number, text in invariants_of(id_).items():
        console.print(hang(console, f"  {number:<3}  ", text))
    if invariants_of(id_):
        console.print()
    print_sources(console, rule)
    print_heading(console, "Mutants of the protocol that it must notice")
    mutants = _noticed_by(id_)
    width = max((len(each.id) for each in mutants), default=0)
    for each in mutants:
        console.print(hang(console, f"  {each.id:<{width}}  ", one_line(each.title)))
    if not mutants:
        console.print("  none")


def _noticed_by(id_: str) -> list[Mutant]:
    mutants = (each.mutant for each in registered().values())
    return [mutant for mutant in mutants if mutant.checker == id_]


def rule_as_dict(id_: str) -> dict[str, object]:
    """What ``--format json`` prints of a rule."""
    return {
        "id": id_,
        "of_a_log": id_ in CHECKERS,
        **_rule_fields(id_),
        "invariants": invariants_of(id_),
        "mutants": [{"id": each.id, "title": each.title} for each in _noticed_by(id_)],
    }


def _rule_fields(id_: str) -> dict[str, object]:
    rule = RULES[id_]
    return {
        "rule": rule.sentence,
        "why": rule.why,
        "source": rule.source,
        "functions": rule.functions,
        "lessons": rule.lessons,
        "reading": rule.reading,
    }


# An invariant.


def print_invariant(console: Console, number: str) -> None:
    """Print an invariant, and who stands for it."""
    output.print_title(console, number, INVARIANTS[number])
    console.print("Checkers that stand for it; 'memslots explain' says more of each:")
    for id_ in _standing_for(number):
        console.print(hang(console, f"  {id_}: ", f"{RULES[id_].sentence}."))


def _standing_for(number: str) -> list[str]:
    return [id_ for id_, checker in CHECKERS.items() if number in checker.invariants]


def invariant_as_dict(number: str) -> dict[str, object]:
    """What ``--format json`` prints of an invariant."""
    return {
        "id": number,
        "rule": INVARIANTS[number],
        "checkers": _standing_for(number),
    }


# A mutant.


def print_mutant(console: Console, registered: Registered) -> None:
    """Print what is broken, why it matters, and which rule that breaks."""
    mutant, rule = registered.mutant, RULES[registered.mutant.checker]
    output.print_title(console, f"mutant {mutant.id}", mutant.title)
    console.print(hang(console, "", one_line(mutant.why)))
    console.print()
    rows = {
        "the step": mutant.step.value,
        "known from": str(mutant.provenance),
        "scenario": mutant.scenario,
        "noticed by": mutant.checker,
        "the rule": f"{rule.sentence}.",
    }
    width = max(map(len, rows))
    for label, value in rows.items():
        console.print(hang(console, f"  {label:<{width}}  ", one_line(value)))
    console.print()
    console.print(hang(console, "", rule.why))
    console.print()
    print_sources(console, rule)
    name = one_line(shlex.quote(registered.name))
    console.print(f"  memslots mutants show {name}  tells the shortest order of steps")
    console.print()


def mutant_as_dict(registered: Registered) -> dict[str, object]:
    """What ``--format json`` prints of a mutant."""
    mutant = registered.mutant
    return {
        "id": mutant.id,
        "title": mutant.title,
        "step": mutant.step.value,
        "mutant_why": mutant.why,
        "provenance": attrs.asdict(mutant.provenance),
        "scenario": mutant.scenario,
        "checker": mutant.checker,
        **_rule_fields(mutant.checker),
    }
