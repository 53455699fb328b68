"""Finds mutants: those of the package by id, others in files of somebody's own."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import attrs

from scenarios.errors import InputError
from scenarios.mutants import families
from scenarios.mutants.mutant import Limit, Mutant
from scenarios.plan import Plan


@attrs.frozen
class Registered:
    """A mutant, and where another process finds it.

    Attributes:
        mutant: The mutant.
        family: The name of its module.
        source: A file; empty if it comes with the package.
    """

    mutant: Mutant
    family: str
    source: str = ""

    @property
    def name(self) -> str:
        """What `one` finds it by."""
        return f"{self.source}:{self.mutant.id}" if self.source else self.mutant.id


@cache
def registered() -> dict[str, Registered]:
    """All mutants of the package by id, family by family.

    Raises:
        ValueError: Two have the same id.
    """
    found: dict[str, Registered] = {}
    for module in _families():
        family = module.__name__.rpartition(".")[2]
        for mutant in sorted(getattr(module, "MUTANTS", ()), key=_by_number):
            if mutant.id in found:
                raise ValueError(f"two mutants are called {mutant.id}")
            found[mutant.id] = Registered(mutant, family.replace("_", "-"))
    return found


@cache
def limits() -> tuple[Limit, ...]:
    """What is not promised, and holds."""
    each = (getattr(module, "LIMITS", ()) for module in _families())
    return tuple(limit for limits in each for limit in limits)


def chosen(names: Iterable[str]) -> list[Registered]:
    """The mutants that the user names.

    Args:
        names: Ids, with or without ``#``; families; Python files, with or without
            ``:`` and an id behind them. None means all.

    Raises:
        InputError: A name means nothing, or a file has no mutant.
    """
    found: dict[tuple[str, str], Registered] = {}
    for name in names or ["*"]:
        for each in _named(name):
            found[each.source, each.mutant.id] = each
    return list(found.values())


def one(name: str) -> Registered:
    """The mutant that a name means.

    Raises:
        InputError: It means none, or several.
    """
    found = chosen([name])
    if len(found) > 1:
        ids = ", ".join(each.mutant.id for each in found)
        raise InputError(f"{name!r} means several mutants: {ids}; name one")
    return found[0]


def with_mutant(plan: Plan, name: str) -> Plan:
    """The plan with a mutant's parts.

    Raises:
        InputError: See `one`.
    """
    return attrs.evolve(plan, parts=one(name).mutant.parts, mutant=name)


def _named(name: str) -> list[Registered]:
    known = registered()
    if name == "*":
        return list(known.values())
    if name.endswith(".py"):
        return _read(Path(name))
    path, _, id_ = name.rpartition(":")
    if path.endswith(".py"):
        if found := [each for each in _read(Path(path)) if each.mutant.id == id_]:
            return found
        raise InputError(f"{path}: has no mutant {id_!r}")
    id_ = name.removeprefix("#")
    if id_ in known:
        return [known[id_]]
    of_family = [each for each in known.values() if each.family == name]
    # A number means all that are made of one bug.
    several = [each for each in known.values() if each.mutant.id[:-1] == id_]
    if id_ and (of_family or several):
        return of_family or several
    families_ = {each.family for each in known.values()}
    close = difflib.get_close_matches(id_, [*known, *families_], n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise InputError(
        f"unknown mutant {name!r}: {hint}'memslots mutants' lists them; a file of your"
        " own ends in .py"
    )


def _families() -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(families.__path__):
        yield importlib.import_module(f"{families.__name__}.{info.name}")


def _by_number(mutant: Mutant) -> tuple[str, int, str]:
    letters, number, rest = re.fullmatch(r"(\D*)(\d*)(.*)", mutant.id).groups()  # type: ignore[union-attr]
    return letters, int(number or 0), rest


@cache
def _read(path: Path) -> list[Registered]:
    """The mutants of a file.

    Raises:
        InputError: It cannot be run, or has none.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # so that its classes have a home
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from error
    mutants = getattr(module, "MUTANTS", ())
    if not mutants or not all(isinstance(each, Mutant) for each in mutants):
        raise InputError(
            f"{path}: has no MUTANTS; it has to be a tuple of"
            " scenarios.mutants.mutant.Mutant"
        )
    return [Registered(each, path.stem, str(path)) for each in mutants]
