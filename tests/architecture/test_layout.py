"""What lies where: imports, sizes, versions, and nothing that varies by itself."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter import api
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from scenarios.version import VERSION
from tests.architecture.pages import ROOT
from tests.architecture.sources import module_name, modules, sources

LONGEST = 450
"""Lines of a module; a longer one has a second idea in it."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> Iterator[str]:
    """Every module that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize(
    "path", [p for p in modules() if p.name == "__init__.py"], ids=name_of
)
def test_a_package_is_a_docstring_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert len(tree.body) == 1
    assert ast.get_docstring(tree)


def test_only_schedule_and_scenarios_know_trio() -> None:
    know = {
        module_name(path)
        for path in modules()
        if any(name.partition(".")[0] == "trio" for name in imported(path))
    }
    assert know
    allowed = ("rcu.schedule.", "scenarios.")
    assert {name for name in know if not name.startswith(allowed)} == set()


def test_the_contracts_of_imports_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert api.read_configuration()["contracts_options"]
    assert lint_imports() == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_module_is_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


@pytest.mark.slow
def test_no_event_depends_on_the_order_of_a_set(tmp_path: Path) -> None:
    logs = []
    for seed in ("1", "2"):
        log = tmp_path / f"{seed}.jsonl"
        arguments = ["run", "dual-set-swap", "--seed", "3", "--log", str(log)]
        subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "scenarios.cli.main", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        logs.append(log.read_bytes())
    assert logs[0] == logs[1]


# Sources that rot unless somebody looks them up.


def test_sources_are_named() -> None:
    found = sources()
    assert ("KVM", "kvm_swap_active_memslots") in {(s.project, s.name) for s in found}


@pytest.mark.skipif("LINUX_SRC" not in os.environ, reason="LINUX_SRC names no kernel")
def test_each_source_is_where_its_docstring_says() -> None:
    kernel = Path(os.environ["LINUX_SRC"])
    assert [
        f"{source.ours}: {source.file} has no {word}"
        for source in sources()
        if source.project in {"KVM", "Linux"} and source.file
        for word in telling_words(source.name)
        if not re.search(rf"\b{word}", (kernel / source.file).read_text())
    ] == []


def telling_words(name: str) -> list[str]:
    """What to look for: "immediate_exit of struct kvm_run" tells two things."""
    words = re.findall(r"\w+", name)
    return [word for word in words if "_" in word] or words[-1:]
