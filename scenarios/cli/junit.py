"""JUnit's XML, which CI systems read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from xml.etree import ElementTree as ET

import attrs

from scenarios.cli.terminal import one_line

Outcome = Literal["passed", "failure", "error", "skipped"]


@attrs.frozen
class Case:
    """Something that was tried.

    Attributes:
        group: What it belongs to.
        name: What it is called.
        outcome: What came of it.
        message: Why it did not pass.
        seconds: How long it took; None if nobody has looked.
        assertions: How often it was put to the test; None if nobody has counted.
    """

    group: str
    name: str
    outcome: Outcome = "passed"
    message: str = ""
    seconds: float | None = None
    assertions: int | None = None


@attrs.frozen
class Suite:
    """What was tried together."""

    name: str
    cases: Sequence[Case]


def document(name: str, suites: Sequence[Suite]) -> str:
    """The whole document; texts are put on one line each."""
    root = ET.Element("testsuites", name=one_line(name))
    for suite in suites:
        _add(root, suite)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _add(root: ET.Element, suite: Suite) -> None:
    outcomes = [case.outcome for case in suite.cases]
    element = ET.SubElement(
        root,
        "testsuite",
        name=one_line(suite.name),
        tests=str(len(outcomes)),
        failures=str(outcomes.count("failure")),
    )
    for outcome, label in (("error", "errors"), ("skipped", "skipped")):
        if outcome in outcomes:
            element.set(label, str(outcomes.count(outcome)))
    seconds = [case.seconds for case in suite.cases if case.seconds is not None]
    if len(seconds) == len(outcomes):
        element.set("time", f"{sum(seconds):.3f}")
    for case in suite.cases:
        _add_case(element, case)


def _add_case(suite: ET.Element, case: Case) -> None:
    element = ET.SubElement(
        suite,
        "testcase",
        classname=f"memslots.{one_line(case.group)}",
        name=one_line(case.name),
    )
    if case.seconds is not None:
        element.set("time", f"{case.seconds:.3f}")
    if case.assertions is not None:
        element.set("assertions", str(case.assertions))
    if case.outcome != "passed":
        ET.SubElement(element, case.outcome, message=one_line(case.message))
