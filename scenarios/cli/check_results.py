"""What checking logs has shown, as JUnit's XML, GitHub's annotations and TAP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import attrs

from scenarios.checkers.checker import Violation
from scenarios.checkers.judge import Judgement, Verdict
from scenarios.cli import junit
from scenarios.cli.terminal import one_line
from scenarios.errors import InputError


@attrs.frozen
class Checked:
    """A log, and what came of it.

    Attributes:
        name: Of the log.
        judgement: What the checkers have seen; None if it could not be read.
        error: Why it could not be.
    """

    name: str
    judgement: Judgement | None
    error: InputError | None = None

    @property
    def good(self) -> bool:
        """Whether it holds."""
        return self.judgement is not None and self.judgement.verdict is Verdict.HOLDS

    @property
    def told(self) -> str:
        """The verdict, and what it rests on or lacks."""
        if self.judgement is None:
            return f"error: {self.error}"
        judgement = self.judgement
        reasons = [tell(each) for each in judgement.violations[:1]] or judgement.reasons
        return ": ".join(filter(None, [judgement.verdict.value, "; ".join(reasons)]))

    def broken(self) -> Iterator[tuple[str, str]]:
        """Each checker whose rule was broken, and what it has seen."""
        if self.judgement is None:
            return
        first: dict[str, Violation] = {}
        for violation in self.judgement.violations:
            first.setdefault(violation.checker, violation)
        for id_, violation in first.items():
            yield id_, tell(violation)


def tell(violation: Violation) -> str:
    """A violation in a line."""
    return (
        f"step {violation.step} by {violation.actor}: {violation.seen}; rule:"
        f" {violation.why}"
    )


def as_junit(logs: Sequence[Checked]) -> str:
    """A suite for each log, with a case for each checker and one for the verdict."""
    return junit.document("memslots check", [_suite(log) for log in logs])


def _suite(log: Checked) -> junit.Suite:
    broken = dict(log.broken())
    cases = []
    for id_, exercised in _exercised(log).items():
        seen = broken.pop(id_, "")
        outcome: junit.Outcome = "failure" if seen else "passed"
        if not exercised and not seen:
            outcome, seen = "skipped", "not exercised"
        cases.append(junit.Case("check", id_, outcome, seen, assertions=exercised))
    cases += [junit.Case("check", id_, "failure", seen) for id_, seen in broken.items()]
    violated = log.judgement is not None and bool(log.judgement.violations)
    worst: junit.Outcome = "failure" if violated else "error"
    verdict = junit.Case("check", "verdict", "passed" if log.good else worst, log.told)
    return junit.Suite(log.name, [*cases, verdict])


def as_github(log: Checked) -> str:
    """Annotations of a log."""
    if log.good:
        return _annotation("notice", log.name, "holds", log.told)
    if log.judgement is None:
        return _annotation("error", log.name, "input error", str(log.error))
    if not log.judgement.violations:
        return _annotation("warning", log.name, "inconclusive", log.told)
    return "".join(
        _annotation("error", log.name, f"violation of {id_}", seen)
        for id_, seen in log.broken()
    )


def _annotation(kind: str, name: str, title: str, text: str) -> str:
    file, title = (_escaped(each, ":,") for each in (name, title))
    return f"::{kind} file={file},title={title}::{_escaped(text)}\n"


def _escaped(text: str, more: str = "") -> str:
    """Text as GitHub's commands take it."""
    text = one_line(text)
    for character in f"%{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


class Tap:
    """Tells of logs one by one in the Test Anything Protocol, version 14."""

    def __init__(self) -> None:
        self._count = 0

    def begin(self) -> str:
        """What comes first."""
        return "TAP version 14\n"

    def add(self, log: Checked) -> str:
        """What there is to say of one log."""
        broken = dict(log.broken())
        text = ""
        for id_, exercised in _exercised(log).items():
            skip = "" if exercised or id_ in broken else " # SKIP not exercised"
            counted = f"{id_}, exercised {exercised} times"
            text += self._line(log, counted, broken.pop(id_, ""), skip)
        for id_, seen in broken.items():
            text += self._line(log, id_, seen)
        return text + self._line(log, "verdict", "" if log.good else log.told)

    def end(self) -> str:
        """What comes last: how many lines there were."""
        return f"1..{self._count}\n"

    def _line(self, log: Checked, what: str, problem: str, more: str = "") -> str:
        self._count += 1
        name = one_line(f"{log.name}: {what}").replace("\\", "\\\\").replace("#", "\\#")
        line = f"{'not ok' if problem else 'ok'} {self._count} - {name}{more}\n"
        if not problem:
            return line
        # A JSON string is a YAML string, too.
        return f"{line}  ---\n  message: {json.dumps(one_line(problem))}\n  ...\n"


def _exercised(log: Checked) -> dict[str, int]:
    if log.judgement is None:
        return {}
    return {id_: each.exercised for id_, each in log.judgement.checkers.items()}
