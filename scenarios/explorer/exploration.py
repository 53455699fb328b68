"""What an exploration is asked, and what it answers."""

from __future__ import annotations

from typing import Literal

import attrs

from scenarios.explorer.program import Finding

EXHAUSTIVE, BOUNDED = "exhaustive", "bounded"

Verdict = Literal["holds", "violation", "inconclusive"]


@attrs.frozen(kw_only=True)
class Question:
    """What is to be explored, and how far.

    Attributes:
        strategy: ``exhaustive``, ``bounded``, or the name of a sampler.
        prune: `exhaustive`: whether a state that was reached before is searched no
            further; otherwise each trace is run once.
        preemptions: `bounded`: the most that are tried; as many as there can be if
            None.
        fewest: What makes an order short before its steps do: the ``switches`` from
            one task to another, or, of `bounded`, the ``preemptions``, which costs no
            further search.
        seeds: Samplers: one for each order.
        sticky, depth: Of the samplers that have them; see `SAMPLERS`.
        max_fail: After how many findings to stop; never if 0.
        max_steps: Steps after which the search ends; None for no limit.
        time_limit: Seconds after which it ends; None for no limit.
    """

    strategy: str = "pos"
    prune: bool = True
    preemptions: int | None = None
    fewest: Literal["switches", "preemptions"] = "switches"
    seeds: range = range(10_000)
    sticky: float = 0.0
    depth: int = 3
    max_fail: int = 1
    max_steps: int | None = None
    time_limit: float | None = None


@attrs.frozen(kw_only=True)
class Shown:
    """Something that must not be, and an order that shows it.

    Attributes:
        finding: What shows.
        order: Who makes each step, as task indexes.
        quality: ``minimal`` if no order of fewer blocks (or preemptions; see
            `Question.fewest`), or of as many and fewer steps, shows anything;
            ``shrunk`` if it is only the shortest that was found.
        preemptions: Switches away from tasks that could have gone on.
        blocks: How many times in a row one task makes steps.
        seed: From a sampler: of the first order that showed it, or something worth a
            shorter order if the search has stopped there; else None.
    """

    finding: Finding
    order: tuple[int, ...]
    quality: Literal["minimal", "shrunk"]
    preemptions: int
    blocks: int
    seed: int | None = None


@attrs.frozen(kw_only=True)
class Answer:
    """What an exploration has shown.

    Attributes:
        verdict: ``holds`` only if nothing was left out, or as far as ``bound`` says.
        exhausted: Whether there is no order that was not covered.
        bound: What limited the search, in words; what was covered if nothing did.
        executions: Runs made; those that only shorten what was found do not count.
        redundant: Runs given up because all behind them had been tried.
        steps: Steps made in them.
        distinct_states: States told apart; None if they were not.
        distinct_traces: Orders that differ in more than the exchange of independent
            neighbours; None if they were not counted.
        interleavings: How many orders there are, exactly; None if not known.
        shown: What was found, each finding once.
        seconds: How long it took, by the wall clock.
    """

    verdict: Verdict
    exhausted: bool
    bound: str
    executions: int
    redundant: int
    steps: int
    distinct_states: int | None
    distinct_traces: int | None
    interleavings: int | None
    shown: tuple[Shown, ...]
    seconds: float


@attrs.frozen(kw_only=True)
class Progress:
    """How far an exploration is.

    Attributes:
        executions, steps: Made so far.
        states: Told apart so far; None if they are not.
        orders: Different orders so far; None if they are not counted.
        share: How much of what is asked is done, from 0 to 1; None if not known.
        level: `bounded`: how many preemptions the orders have that are tried; else
            None.
    """

    executions: int
    steps: int
    states: int | None = None
    orders: int | None = None
    share: float | None = None
    level: int | None = None
