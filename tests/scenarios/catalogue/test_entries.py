"""Every scenario of the catalogue is valid, of a family, told in three sentences."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from scenarios.catalogue.entries import SUFFIXES, entries
from scenarios.planner import plan_for

FAMILIES = {
    "dirty-log",
    "incident",
    "memslot-perf",
    "modification-stress",
    "page-table",
    "protocol",
    "race",
    "set-memory-region",
    "small",
    "trace",
}
CATALOGUE = entries()["dual-set-swap"].parent
NAMES = [name for name, path in entries().items() if path.suffix == ".toml"]


def sentences(text: str) -> list[str]:
    """The sentences of a text; what ends without a full stop is none."""
    return re.findall(r"\S.*?\.(?=\s|$)", " ".join(text.split()))


def test_every_file_of_every_folder_is_an_entry_of_its_own() -> None:
    files = [path for path in CATALOGUE.rglob("*") if path.suffix in SUFFIXES]
    assert {path.parent.name for path in files} >= {"selftests", "incidents", "races"}
    assert [name for name, n in Counter(p.stem for p in files).items() if n > 1] == []
    assert sorted(entries().values()) == sorted(files)
    assert list(entries()) == sorted(entries())


@pytest.mark.parametrize("name", entries())
def test_every_scenario_is_valid_and_of_a_family(name: str) -> None:
    scenario = plan_for(name).scenario
    assert scenario.name == name
    assert scenario.family in FAMILIES
    assert len(set(scenario.must_exercise)) == len(scenario.must_exercise)


@pytest.mark.parametrize("name", NAMES)
def test_every_description_has_three_sentences(name: str) -> None:
    description = plan_for(name).scenario.description
    found = sentences(description)
    assert len(found) == 3
    assert " ".join(found) == " ".join(description.split())


def test_a_text_is_taken_apart_at_its_full_stops() -> None:
    assert sentences("One 2.5. Two\n two. ") == ["One 2.5.", "Two two."]
    assert sentences("No end") == []
