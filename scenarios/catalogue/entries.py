"""Finds the scenarios that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

SUFFIXES = (".toml", ".strace")


def entries() -> dict[str, Path]:
    """The file of every scenario of the catalogue, by name."""
    with resources.as_file(resources.files("scenarios.catalogue")) as folder:
        return {
            path.stem: path
            for path in sorted(folder.iterdir())
            if path.suffix in SUFFIXES
        }
