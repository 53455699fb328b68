"""The HTML file: what is in it, and that nothing in it can be anything else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from memslots.tracepoints import (
    AddressSpaceMade,
    SlotData,
    SlotInstalled,
)
from rcu.trace import Record
from rcu.tracepoints import RuleWasBroken, SectionBegan
from scenarios.report import page
from scenarios.report.window import Wanted
from scenarios.report.writer import picture_of_records
from tests.scenarios.report.small_runs import DELETE, endless_reader, records

NASTY = "</script><script>alert(1)</script><!--\"'&\u2028\u202e\x1b[1m\n"


class Parts(HTMLParser):
    """The elements of a page, and what is in its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {}
        self._in = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = tag

    def handle_data(self, data: str) -> None:
        self.inside.setdefault(self._in, []).append(data)


def data_of(text: str) -> Any:
    """What the script of a page reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def text() -> str:
    return page.render(picture_of_records(DELETE, {"scenario": "one delete"}))


def test_a_page_needs_nothing_from_elsewhere(text: str) -> None:
    parts = Parts(text)
    for _, attributes in parts.elements:
        for name in ("src", "href", "action", "srcset", "style", "onclick"):
            value = attributes.get(name)
            assert value is None or value in {"#", "data:,"}
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert "@import" not in text
    assert "url(" not in text.replace("url(#", "")


def test_the_policy_allows_this_style_and_this_script_only(text: str) -> None:
    parts = Parts(text)
    policy = next(
        attributes["content"]
        for tag, attributes in parts.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        inner = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        assert len(inner) == 1
        digest = base64.b64encode(hashlib.sha256(inner[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_a_page_without_data_is_small() -> None:
    assert len(page.render(picture_of_records([])).encode()) < 100_000


def test_what_the_script_reads(text: str) -> None:
    data = data_of(text)
    assert data["title"] == "one delete"
    assert [lane[0] for lane in data["lanes"]][2:5] == ["vcpu0", "vcpu1", "vmm"]
    entry = data["entries"][4]
    assert entry[:3] == [5, 3, 2]
    assert entry[5:] == ["gets hold of set 0", '{"as_id":0,"set":0}']
    assert data["names"][entry[3]] == "set_dereferenced"
    assert data["groups"][entry[4]] == "sections"
    assert data["swaps"] == [[6, 0, 1]]
    assert [each[2] for each in data["arrows"]] == [1, 1]
    assert data["changes"][-1] == [15, 0, 0, "replaced", 1, None, None, None]
    assert data["changes"][-3][6] == "1, update in progress"


def test_names_that_would_end_the_script_are_text() -> None:
    run = [
        Record(1, NASTY, SectionBegan(NASTY, 0)),
        Record(2, NASTY, RuleWasBroken("consistent-set", NASTY, NASTY)),
    ]
    text = page.render(
        picture_of_records(run, {"scenario": NASTY, "seed": NASTY}, NASTY)
    )
    assert text.isascii() or "\u202e" not in text
    parts = Parts(text)
    assert [tag for tag, _ in parts.elements].count("script") == 2
    harmless = "</script><script>alert(1)</script><!--\"'&\ufffd\ufffd\ufffd[1m\ufffd"
    data = data_of(text)
    assert data["title"] == harmless
    assert data["lanes"][1][0] == harmless
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in json.dumps(data, ensure_ascii=False)


def test_ten_megabytes_of_text_are_cut() -> None:
    long = "x" * 10_000_000
    run = [Record(1, long, RuleWasBroken(long, long, long))]
    text = page.render(picture_of_records(run, {"scenario": long, "tasks": [long]}))
    assert len(text) < 120_000


def test_numbers_that_javascript_does_not_have() -> None:
    slot = SlotData(1 << 60, 1 << 61, 1 << 62, 1 << 63, 1 << 64, -(1 << 62))
    run = records(
        (0, "setup", AddressSpaceMade(0, 1 << 70, 1)),
        (0, "setup", SlotInstalled(0, slot)),
    )
    data = data_of(page.render(picture_of_records(run)))
    entered = data["changes"][-1][5]
    most = (1 << 53) - 1
    assert entered == [most, most, most, most, hex(1 << 64), -most]
    assert data["changes"][0][6] == str(1 << 70)


def test_a_part_of_a_run_is_called_one() -> None:
    picture = picture_of_records(endless_reader(100), wanted=Wanted(most=10))
    data = data_of(page.render(picture))
    assert data["notice"] == (
        "showing 10 of 301 events, steps 0 to 27 of 997: the first of the run"
    )
    assert len(data["entries"]) == 10


def test_lists_in_a_record_are_cut() -> None:
    run = [Record(1, f"vcpu{n}", SectionBegan("d", 0)) for n in range(500)]
    picture = picture_of_records(run)
    assert len(picture.lanes) == 1 + 300 + 1
    assert picture.lanes[-1].name == "200 more tasks"
    assert {span.lane for span in picture.spans[300:]} == {len(picture.lanes) - 1}
