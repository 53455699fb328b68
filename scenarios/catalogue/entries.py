"""Finds the scenarios that come with the package."""

from __future__ import annotations

from importlib import resources
from operator import attrgetter
from pathlib import Path

SUFFIXES = (".toml", ".strace")


def entries() -> dict[str, Path]:
    """The file of every scenario of the catalogue and its folders, by name."""
    with resources.as_file(resources.files("scenarios.catalogue")) as folder:
        files = (path for path in folder.rglob("*") if path.suffix in SUFFIXES)
        return {path.stem: path for path in sorted(files, key=attrgetter("stem"))}
