"""What is known of the mutants that no test notices."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

import attrs
import cattrs

from tests.mutation.mutants import Mutant

FILE = Path(__file__).with_name("survivors.toml")


@attrs.frozen
class Survivor:
    """A mutant that no test notices, and why; it is known by what changes, not where.

    Attributes:
        module: Its path.
        function: Qualified name of what it is in.
        operator: What kind of change it is.
        before: The line as it is.
        after: The line as it would be.
        why: Why no test notices, in a line.
        equivalent: Whether none can, because nothing is done otherwise.
    """

    module: str
    function: str
    operator: str
    before: str
    after: str
    why: str
    equivalent: bool

    def is_it(self, mutant: Mutant) -> bool:
        """Whether a mutant is this one."""
        return (self.module, self.function, self.operator) == (
            mutant.module,
            mutant.function,
            mutant.operator,
        ) and (self.before, self.after) == (mutant.before, mutant.after)


@attrs.frozen
class _File:
    survivor: list[Survivor] = attrs.field(factory=list)


def known(text: str | None = None) -> list[Survivor]:
    """The survivors of the list.

    Args:
        text: The list; by default what the file says.
    """
    tables = tomllib.loads(FILE.read_text() if text is None else text)
    converter = cattrs.Converter(forbid_extra_keys=True)
    return converter.structure(tables, _File).survivor


def explanation(mutant: Mutant, survivors: Iterable[Survivor]) -> Survivor | None:
    """What is known of a mutant."""
    return next((each for each in survivors if each.is_it(mutant)), None)
