"""Which of our functions a scenario runs, found out by running it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from types import CodeType, FrameType
from typing import Any

from scenarios.planner import plan_for
from scenarios.runner import run
from tests.architecture.sources import PACKAGES

TOO_LONG = ("max-regions",)
"""Scenarios that take seconds and run nothing that no other runs."""

_GENERATED = re.compile(r"<attrs generated \w+ ([\w.]+?)(-\d+)?>")


def ran_in(scenario: str) -> frozenset[str]:
    """Modules, classes and functions of ours that ran in a scenario.

    Args:
        scenario: A name of the catalogue; it is run once, with its first seed.
    """
    codes: dict[CodeType, str] = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code not in codes:
            codes[code] = str(frame.f_globals.get("__name__", ""))

    plan = plan_for(scenario)
    sys.setprofile(note)
    try:
        run(plan)
    finally:
        sys.setprofile(None)
    ran: set[str] = set()
    for code, module in codes.items():
        if module.partition(".")[0] in PACKAGES:
            ran |= _with_parents(f"{module}.{code.co_qualname}")
        elif generated := _GENERATED.fullmatch(code.co_filename):
            ran |= _with_parents(generated[1])
    return frozenset(ran)


def _with_parents(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts) + 1)}


def chosen(wanted: Iterable[str], scenarios: Iterable[str]) -> dict[str, str]:
    """A scenario for each name that one of them runs, few of them.

    Args:
        wanted: Modules, classes and functions.
        scenarios: Names of the catalogue.
    """
    left = set(wanted)
    short = (scenario for scenario in scenarios if scenario not in TOO_LONG)
    ran = {scenario: ran_in(scenario) & left for scenario in short}
    found: dict[str, str] = {}
    while ran:
        best = min(ran, key=lambda name: (-len(ran[name] & left), name))
        new = ran.pop(best) & left
        if not new:
            break
        found |= dict.fromkeys(new, best)
        left -= new
    return found
