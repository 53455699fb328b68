"""`memslots explain`."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from scenarios.checkers.invariants import INVARIANTS
from scenarios.cli import explained, explained_rules, output, terminal
from scenarios.cli.exit_codes import BY_VERDICT
from scenarios.errors import InputError
from scenarios.logbook.lines import STDIN
from scenarios.logbook.reader import LogReader
from scenarios.mutants.registry import Registered, chosen, registered
from scenarios.report.proof import Account, account_of
from scenarios.report.rules import RULES

_STDIN_NAME = "standard input"

_ID = re.compile(r"#?[\w-]+", re.ASCII)


def explain(
    what: Annotated[str, Parameter(name="WHAT")],
    /,
    *,
    violation: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    format: output.Format = "text",  # noqa: A002 - the option's name
) -> int:
    """Say in words what a log shows and why, or what a rule is for.

    A violation is told as a small proof from the records of the log. The exit code is
    that of the verdict; it is 0 if a rule or a mutant is explained.

    Args:
        what: A log that `memslots run --log` wrote, `-` for standard input; or the id
            of a checker, an invariant such as I6, or a mutant such as 14.
        violation: Explain this one of a log, counted from 1; by default the first.
        format: `json` prints one object and nothing else.
    """
    shown = _Shown(format)
    if what in RULES:
        shown.rule(what)
    elif what in INVARIANTS:
        shown.invariant(what)
    elif mutants := _mutants(what):
        shown.mutants(mutants)
    elif Path(what) == STDIN or os.path.lexists(what):
        account = _account(what, violation or 1)
        shown.account(account, what)
        return BY_VERDICT[account.judgement.verdict.value]
    else:
        raise _unknown(what)
    return 0


class _Shown:
    """Prints explanations in a format."""

    def __init__(self, format: output.Format) -> None:  # noqa: A002
        self._json = format == "json"

    def rule(self, id_: str) -> None:
        if self._json:
            output.print_json(explained_rules.rule_as_dict(id_))
        else:
            explained_rules.print_rule(terminal.stdout(), id_)

    def invariant(self, number: str) -> None:
        if self._json:
            output.print_json(explained_rules.invariant_as_dict(number))
        else:
            explained_rules.print_invariant(terminal.stdout(), number)

    def mutants(self, mutants: list[Registered]) -> None:
        if self._json:
            told = [explained_rules.mutant_as_dict(each) for each in mutants]
            output.print_json({"mutants": told})
            return
        for each in mutants:
            explained_rules.print_mutant(terminal.stdout(), each)

    def account(self, account: Account, what: str) -> None:
        if self._json:
            output.print_json(explained.account_as_dict(account))
        else:
            explained.print_account(terminal.stdout(), account, what)


def _mutants(name: str) -> list[Registered]:
    """The mutants of the package that a name means."""
    if not _ID.fullmatch(name):
        return []  # nor need they be read
    known = registered()
    families = {each.family for each in known.values()}
    bugs = {each[:-1] for each in known if len(each) > 1}
    if name.removeprefix("#") not in {*known, *families, *bugs}:
        return []
    return chosen([name])


def _unknown(name: str) -> InputError:
    ids = [*RULES, *INVARIANTS, *registered()]
    close = [each for each in ids if name and name in each]
    close += difflib.get_close_matches(name, ids)
    hint = f" (did you mean {close[0]}?)" if close else ", nor is there such a file"
    return InputError(
        f"unknown rule or mutant {name!r}{hint}: give a log, the id of a checker as in"
        " grace-period, an invariant as in I6, or a mutant as in 14"
    )


def _account(what: str, number: int) -> Account:
    """What is to be said of a log, or of standard input.

    Raises:
        InputError: It cannot be read, is none, or does not have so many violations.
    """
    if Path(what) != STDIN:
        return account_of(LogReader(Path(what)), number)
    with _kept() as path:
        try:
            account = account_of(LogReader(path), number)
        except InputError as error:
            raise InputError(str(error).replace(str(path), _STDIN_NAME)) from error
    return attrs.evolve(account, name=_STDIN_NAME)


@contextmanager
def _kept() -> Iterator[Path]:
    """A file with what is on standard input, which can be read twice."""
    with tempfile.TemporaryDirectory(prefix="memslots-") as folder:
        path = Path(folder) / "log"
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            raise InputError(f"cannot keep the log: {error.strerror}") from error
        yield path
