"""What is said of a broken protocol."""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import ge, in_, min_len, optional

from scenarios.checkers.judge import CHECKERS
from scenarios.machine import Parts
from scenarios.mutants.steps import Step

OF_THE_SEARCH = ("livelock", "lost-wakeup", "starvation")
"""Findings of the search itself; no checker of a run makes them."""

MUST_NOTICE = (*CHECKERS, *OF_THE_SEARCH)
"""Who may notice a mutant."""


@attrs.frozen(kw_only=True)
class Provenance:
    """Where it is known from that the step matters.

    Attributes:
        kind: ``fix`` if a recorded bug was mended, ``review`` if somebody said so in
            the mails about the series, ``rule`` if the source states or implies it.
        subject: Of the fix; or what was said, in our own words.
        commit: Hash of the fix as far as it was seen; may be empty.
        release: The first release known to have it; may be empty.
        cve: Its number; empty if none is known.
    """

    kind: Literal["fix", "review", "rule"]
    subject: str = attrs.field(validator=min_len(1))
    commit: str = ""
    release: str = ""
    cve: str = ""

    def __str__(self) -> str:
        known = [each for each in (self.cve, self.commit, self.release) if each]
        if self.kind == "fix":
            more = f" ({', '.join(known)})" if known else ""
            return f'recorded bug, fixed by "{self.subject}"{more}'
        said = {"review": "review of the series", "rule": "rule of the source"}
        return f"{said[self.kind]}: {self.subject}"


@attrs.frozen(kw_only=True)
class Mutant:
    """A protocol that is one step away from the right one.

    Attributes:
        id: What it is called on the command line: the number of a bug, as in ``14``,
            with a letter if there are several for one, or of a rule of SRCU, as in
            ``R3``.
        title: What is left out or exchanged, in less than a line.
        step: Of the protocol.
        why: Why that step matters, in two sentences.
        provenance: Where that is known from.
        scenario: Where it shows: a name that `memslots list` shows.
        checker: Who must notice.
        parts: Of what the machine is built.
        preemptions: The fewest of an order that shows it; None if the scenario is too
            large to try all orders.
        seeds: Those that are tried then.
        unseen_in: Scenarios in which no order shows it.
    """

    id: str = attrs.field(validator=min_len(1))
    title: str = attrs.field(validator=min_len(1))
    step: Step = attrs.field(validator=attrs.validators.instance_of(Step))
    why: str = attrs.field(validator=min_len(1))
    provenance: Provenance
    scenario: str
    checker: str = attrs.field(validator=in_(MUST_NOTICE))
    parts: Parts
    preemptions: int | None = attrs.field(validator=optional(ge(0)))
    seeds: range = range(200)
    unseen_in: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Limit:
    """What users may stumble over although nothing is broken: its scenario holds.

    Attributes:
        id: As in ``L1``.
        title: What is not promised.
        observed: What a guest or a VMM may observe, in two sentences.
        scenario: That shows it, and holds.
    """

    id: str
    title: str
    observed: str
    scenario: str
