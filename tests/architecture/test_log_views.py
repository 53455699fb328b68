"""Each view of a log is explained, with its columns."""

from __future__ import annotations

import re

import pytest

from scenarios.logbook.views import LINE, VIEWS, field_types
from tests.architecture.pages import DOCS

PAGE = DOCS / "reference" / "log-views.md"


def told(name: str) -> list[str]:
    """The columns that the page tells of, in order."""
    text = PAGE.read_text()
    _, _, after = text.partition(f"\n## {name}\n")
    section, _, _ = after.partition("\n## ")
    rows = re.findall(r"^\| (`.*?`) \|", section, flags=re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


@pytest.mark.parametrize(("name", "view"), VIEWS.items())
def test_each_view_is_explained(name: str, view: object) -> None:
    heading = "slots_at(seq)" if name == "slots_at" else name
    assert sorted(told(heading)) == sorted(VIEWS[name].columns)


def test_no_field_of_an_event_is_called_as_what_every_line_has() -> None:
    assert not {*LINE, "fields"} & field_types().keys()


def test_fields_that_are_json_are_told() -> None:
    plain = {"HUGEINT", "VARCHAR", "BOOLEAN"}
    nested = [name for name, kind in field_types().items() if kind not in plain]
    arrays = {"entries", "holds", "lines", "may_read", "sections", "sets", "words"}
    assert {*nested} - arrays == {"new", "slot"}
