"""Our modules as text: their docstrings, and the kernel sources that these name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.architecture.pages import ROOT

PACKAGES = ("rcu", "memslots", "vcpus", "scenarios")

_SOURCE = re.compile(r"^\s*(KVM|Linux|QEMU|strace): (.+)$", re.MULTILINE)
_FILE = re.compile(r"[\w.-]+(/[\w.-]+)+")

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@attrs.frozen(order=True)
class Source:
    """Something that a docstring names as what it models.

    Attributes:
        project: ``KVM``, ``Linux``, ``QEMU`` or ``strace``.
        name: Function, structure or constant; empty if a file as a whole is meant.
        file: Where it is; empty if the docstring does not say.
        ours: Module and name of what models it.
    """

    project: str
    name: str
    file: str
    ours: str


def modules() -> list[Path]:
    """Every module of ours."""
    return [
        path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
    ]


def module_name(path: Path) -> str:
    """The dotted name of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> list[Source]:
    """Every source that our modules name, sorted."""
    found: set[Source] = set()
    for path in modules():
        for ours, text in _texts(path):
            for project, line in _SOURCE.findall(text):
                found |= {
                    Source(project, name, file, ours) for name, file in _named(line)
                }
    return sorted(found)


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Docstrings, and the sources of checkers, with the names they belong to."""
    tree = ast.parse(path.read_text())
    yield from _texts_of(tree, module_name(path))


def _texts_of(node: _Documented, name: str) -> Iterator[tuple[str, str]]:
    yield name, ast.get_docstring(node) or ""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _texts_of(child, f"{name}.{child.name}")
        elif (
            isinstance(child, ast.Assign)
            and isinstance(child.targets[0], ast.Name)
            and child.targets[0].id == "source"
            and isinstance(child.value, ast.Constant)
        ):
            yield name, str(child.value.value)


def _named(line: str) -> Iterator[tuple[str, str]]:
    """The names on a source line, each with the file that ends the line."""
    *names, last = line.split(", ")
    file = last if _FILE.fullmatch(last) else ""
    if not file:
        names.append(last)
    for name in names or [""]:
        yield name, file
