"""The series "KVM: Scalable memslots": where each part lives and what shows it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import attrs
import cattrs


@attrs.frozen
class Patch:
    """One patch.

    Attributes:
        number: Its place in the series.
        subject: Its subject.
        ours: Modules and names that model what it brought.
        tests: Tests that show it: a path below ``tests/``, and a name in it.
    """

    number: int
    subject: str
    ours: tuple[str, ...]
    tests: tuple[str, ...]


@attrs.frozen
class Bullet:
    """A behaviour that the cover letter, or the history of versions, implies.

    Attributes:
        says: What it is.
        ours: Modules and names that model it.
        tests: Tests that show it.
    """

    says: str
    ours: tuple[str, ...]
    tests: tuple[str, ...]


_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())

PATCHES = cattrs.structure(_TABLES["patches"], tuple[Patch, ...])
BULLETS = cattrs.structure(_TABLES["bullets"], tuple[Bullet, ...])
