"""What the pages say about the code is so: tables, links, names, and what is run."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path

import pytest
from cyclopts import App

from rcu.schedule.report import Ending
from rcu.trace import EVENT_TYPES
from scenarios import scenario
from scenarios.checkers.judge import CHECKERS
from scenarios.cli import exit_codes
from scenarios.cli.main import COMMANDS
from scenarios.logbook.schema import SCHEMA
from scenarios.strategies.by_name import STRATEGIES
from scenarios.strategies.replay import Replay
from scenarios.version import VERSION
from tests.architecture.derived import TABLES, with_tables
from tests.architecture.pages import (
    DOCS,
    ROOT,
    Done,
    blocks,
    missing_programs,
    pages,
    prose,
    run_page,
    runnable_pages,
    without_seconds,
)
from tests.architecture.series import BULLETS, PATCHES
from tests.architecture.sources import PACKAGES
from tests.memslots.region_rows import ROWS
from vcpus.vcpu import AccessKind

REFRESH = "is not what the code says: run python -m tests.architecture.derived"


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next of the same level or above."""
    level = heading.partition(" ")[0]
    after = page.read_text().partition(f"\n{heading}\n")[2]
    assert after, f"{name_of(page)} has no heading {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]


# What is derived.


@pytest.mark.parametrize("name", TABLES)
def test_a_derived_table_is_as_the_code_says(name: str) -> None:
    text = (DOCS / name).read_text()
    assert text == with_tables(text, TABLES[name]), f"{name} {REFRESH}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_a_page_that_shows_what_to_type_is_run(page: Path) -> None:
    kinds = {block.kind for block in blocks(page)}
    assert page in runnable_pages() or not kinds & {"console", "python"}


@pytest.mark.slow
@pytest.mark.parametrize("page", runnable_pages(), ids=name_of)
def test_the_blocks_of_a_page_do_what_it_says(page: Path, tmp_path: Path) -> None:
    missing = missing_programs(page)
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    for done in run_page(page, tmp_path):
        assert_as_shown(page, done)


def assert_as_shown(page: Path, done: Done) -> None:
    block = done.block
    where = f"{name_of(page)}:{block.place}"
    if block.kind == "python":
        assert done.codes == (0,), f"{where}: {done.output[0]}"
        return
    if block.shows_output:
        shown, printed = map(without_seconds, (block.lines, done.output))
        assert shown == printed, f"{where} {REFRESH}"
    for place, code in enumerate(done.codes):
        told = block.commands[place + 1 : place + 2] == ["echo $?"]
        assert not code or told, f"{where}: {block.commands[place]} exits with {code}"


# Links and names.


def anchors(page: Path) -> set[str]:
    """What a link may name in a page: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{name_of(page)} links to {target}"


def test_every_page_can_be_reached() -> None:
    reached = {DOCS / "README.md"}
    to_read = [*reached]
    while to_read:
        page = to_read.pop()
        for target in re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", prose(page)):
            linked = (page.parent / target).resolve()
            if linked not in reached and linked.is_relative_to(DOCS):
                reached.add(linked)
                to_read.append(linked)
    assert reached == set(DOCS.rglob("*.md"))


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module of ours, or something in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_name_of_ours_in_a_page_exists(page: Path) -> None:
    rooms = "|".join((*PACKAGES, "tests"))
    for name in re.findall(rf"`((?:{rooms})(?:\.\w+)+)`", prose(page)):
        assert exists(name), f"{name_of(page)} names {name}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_file_of_ours_in_a_page_exists(page: Path) -> None:
    rooms = "|".join((*PACKAGES, "tests", "docs", "benchmarks"))
    for name in re.findall(rf"`((?:{rooms})/[\w./-]*)`", prose(page)):
        there = (ROOT / name).exists() or (ROOT / f"{name}.py").exists()
        assert there, f"{name_of(page)} names {name}"


# Each thing has its place in the reference.


@pytest.mark.parametrize("id_", CHECKERS)
def test_each_checker_has_a_section(id_: str) -> None:
    text = section(DOCS / "reference" / "checkers.md", f"### {id_}")
    assert "*Exercised*" in text
    (covers,) = re.findall(r"^- \*Covers\*: (.*)$", text, flags=re.MULTILINE)
    assert tuple(re.findall(r"\bI\d+\b", covers)) == CHECKERS[id_].invariants


@pytest.mark.parametrize("name", [*STRATEGIES, Replay.name])
def test_each_strategy_has_a_section(name: str) -> None:
    page = DOCS / "reference" / "strategies.md"
    assert section(page, f"## {name}")
    assert f"| `{name}` |" in page.read_text()


def functions() -> dict[str, Callable[..., object]]:
    """What each command calls; one with commands of its own calls several."""
    found: dict[str, Callable[..., object] | None] = {}
    for name, (place, _) in COMMANDS.items():
        module, attribute = place.split(":")
        called = getattr(importlib.import_module(f"scenarios.cli.{module}"), attribute)
        if not isinstance(called, App):
            found[name] = called
            continue
        found[name] = called.default_command
        for inner in called:
            if not inner.startswith("-"):
                found[f"{name} {inner}"] = called[inner].default_command
    return {name: called for name, called in found.items() if called is not None}


@pytest.mark.parametrize(("command", "called"), functions().items())
def test_each_command_has_its_arguments_and_options(
    command: str, called: Callable[..., object]
) -> None:
    page = DOCS / "reference" / "cli.md"
    text = section(page, f"### {command}")
    for parameter in inspect.signature(called).parameters.values():
        option = f"`--{parameter.name.rstrip('_').replace('_', '-')}`"
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            assert f"| {option}" in text
    options = len(re.findall(r"^\| `--", text, flags=re.MULTILINE))
    signature = inspect.signature(called).parameters.values()
    assert options == sum(p.kind is p.KEYWORD_ONLY for p in signature)


def test_each_exit_code_is_explained() -> None:
    text = section(DOCS / "reference" / "cli.md", "## Exit codes")
    codes = {code for code in vars(exit_codes).values() if isinstance(code, int)}
    explained = re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)
    assert {*map(int, explained)} == codes


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        (AccessKind, "## What a guest does"),
        (scenario.ReadKind, "## What KVM and the host do"),
        (scenario.HostAction, "## What KVM and the host do"),
    ],
)
def test_each_value_of_a_scenario_is_explained(kind: type[Enum], heading: str) -> None:
    text = section(DOCS / "reference" / "scenario-format.md", heading)
    for member in kind:
        assert f'`"{member.value}"`' in text


def test_each_part_of_the_series_is_shown_by_a_test() -> None:
    places = [(part.ours, part.tests) for part in PATCHES]
    for ours, tests in [*places, *((part.ours, part.tests) for part in BULLETS)]:
        assert ours
        assert tests
        for test in tests:
            file, name = test.split("::")
            text = (ROOT / "tests" / file).read_text()
            assert re.search(rf"(def|class) {name}\b", text), test
    assert [patch.number for patch in PATCHES] == list(range(1, 14))


def test_each_event_is_explained_once() -> None:
    text = section(DOCS / "reference" / "log-schema.md", "## Events")
    explained = re.findall(r"^#### `(\w+)`$", text, flags=re.MULTILINE)
    assert sorted(explained) == sorted(EVENT_TYPES)


def test_the_version_of_the_log_is_told() -> None:
    text = (DOCS / "reference" / "log-schema.md").read_text()
    assert f"version {SCHEMA} of the format" in text
    assert f"Version of the format: {SCHEMA}." in text


def test_each_ending_of_a_run_is_told() -> None:
    text = section(DOCS / "reference" / "log-schema.md", "## Last line: `run_ended`")
    assert all(f"`{ending.value}`" in text for ending in Ending)


def test_each_row_that_is_tested_is_a_row_of_the_table_of_errors() -> None:
    text = (DOCS / "reference" / "errors.md").read_text()
    rows = set(re.findall(r"^\| (\d+[a-z]?) \|", text, flags=re.MULTILINE))
    assert {row.number for row in ROWS} - {"-"} <= rows


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## [{VERSION}]" in (ROOT / "CHANGELOG.md").read_text()
