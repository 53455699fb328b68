"""The formats other than HTML, read back by whoever reads them."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from rcu.trace import Record
from rcu.tracepoints import GracePeriodEnded, RuleWasBroken, SectionBegan
from scenarios.errors import InputError
from scenarios.report import chrome_json, lanes_as_text, mermaid, perfetto, svg
from scenarios.report.picture import Picture
from scenarios.report.protobuf import Fixed64, Message
from scenarios.report.times import Times
from scenarios.report.words import slot_words
from scenarios.report.writer import (
    FORMATS,
    SUFFIXES,
    Format,
    format_of,
    picture_of_records,
    rendered,
    write_report,
)
from tests.scenarios.report.small_runs import DELETE, DOMAIN, INVALID, endless_reader

NASTY = "<script>\"'&\n\x1b[31m\u202e;#`"


@pytest.fixture(scope="module")
def picture() -> Picture:
    return picture_of_records(DELETE, {"scenario": "one delete"})


@pytest.fixture(scope="module")
def nasty() -> Picture:
    """A run in which everything that can be text is meant to do harm."""
    run = [
        Record(1, NASTY, SectionBegan(NASTY, 0)),
        Record(2, NASTY * 50, RuleWasBroken("consistent-set", NASTY, NASTY * 9)),
        Record(3, "x" * 10_000_000, RuleWasBroken(NASTY, "y" * 10_000_000, NASTY)),
    ]
    return picture_of_records(run, {"scenario": NASTY, "seed": NASTY}, NASTY)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_picture_gives_the_same_bytes(name: Format) -> None:
    first, second = (
        rendered(picture_of_records(DELETE, {"scenario": "one delete"}), name)
        for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_run_can_be_drawn(name: Format) -> None:
    assert rendered(picture_of_records([]), name)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_from_a_log_is_more_than_text(name: Format, nasty: Picture) -> None:
    data = rendered(nasty, name)
    assert len(data) < 200_000
    text = data.decode(errors="replace")
    assert "\u202e" not in text
    if name != "perfetto":  # it is no text
        assert "\x1b" not in text
    if name in {"html", "svg", "mermaid"}:
        assert "<script>\"'" not in text


# Text and Mermaid.


def test_text(picture: Picture) -> None:
    text = lanes_as_text.render(picture)
    assert text.count(" (a cause of it)\n") == len(picture.flags[0].causes)
    lines = text.replace(" (a cause of it)\n", "\n").splitlines()
    assert lines[:7] == [
        "one delete: violation",
        "",
        "      +- vcpu0",
        "      | +- vcpu1",
        "      | | +- vmm",
        "      | | | +- kvm->srcu-gp",
        "step  | | | |",
    ]
    assert lines[11:18] == [
        "   3  0*· c ·   vcpu0 gets hold of set 0",
        "   4  0 · L*·   vmm takes slots_lock",
        f"   5  0 · L*·   vmm edits set 1: #1 leaves, {slot_words(INVALID)} enters",
        "   6  0=·=L*·=  vmm publishes set 1",
        "   6  0 · w*·   vmm waits for a grace period",
        "   7  0 · w G*  kvm->srcu-gp grace period starts, gp_seq 1",
        "   8  0 '*w G   vcpu1 enters a read section, rank 0",
    ]


def test_text_says_what_is_wrong_behind_the_step(picture: Picture) -> None:
    lines = lanes_as_text.render(picture).splitlines()
    flag = picture.flags[0]
    place = lines.index(f" !!!  {flag.checker}: {flag.seen}")
    assert lines[place - 1].split()[0] == str(flag.step)


def test_mermaid(picture: Picture) -> None:
    lines = [line.strip() for line in mermaid.render(picture).splitlines()]
    assert lines[:2] == ["sequenceDiagram", "participant L2 as vcpu0"]
    assert "Note over L2,L6: 6: publishes set 1" in lines
    assert "L2->>L5: 10: leaves its read section, rank 0" in lines
    assert "participant L5 as kvm-#62;srcu-gp" in lines


def test_mermaid_has_nothing_that_means_something(nasty: Picture) -> None:
    syntax = re.compile(
        r"(sequenceDiagram| {4}(participant L\d+ as |Note over L\d+(,L\d+)?: |"
        r"L\d+->>L\d+: ))?([\w .,()\[\]=/+:-]|#\d+;)*"
    )
    for line in mermaid.render(nasty).splitlines():
        assert syntax.fullmatch(line), line


# SVG.


def test_svg(picture: Picture) -> None:
    root = ET.fromstring(svg.render(picture))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    bars = [
        each for each in root.iter(f"{space}rect") if "bar" in each.get("class", "")
    ]
    assert len(bars) == len(picture.spans)
    swaps = [e for e in root.iter(f"{space}line") if e.attrib["class"] == "swap f1"]
    assert len(swaps) == 1
    arrows = [e for e in root.iter(f"{space}path") if e.get("class") == "arrow"]
    assert len(arrows) == 2
    assert len(list(root.iter(f"{space}circle"))) == len(DELETE)


def test_svg_of_nasty_names_is_well_formed(nasty: Picture) -> None:
    root = ET.fromstring(svg.render(nasty))  # noqa: S314 - our own
    assert not [each for each in root.iter() if each.tag.endswith("script")]


# Chrome's JSON.


def test_bars_of_a_thread_nest_in_chrome_json(picture: Picture) -> None:
    data = json.loads(chrome_json.render(picture))
    by_thread: dict[int, list[dict[str, Any]]] = {}
    for event in data["traceEvents"]:
        if event["ph"] == "X":
            by_thread.setdefault(event["tid"], []).append(event)
    assert sum(map(len, by_thread.values())) == len(picture.spans)
    for events in by_thread.values():
        for one, next_ in itertools.pairwise(events):
            assert one["ts"] + one["dur"] <= next_["ts"]


def test_threads_of_chrome_json_are_named(picture: Picture) -> None:
    events = json.loads(chrome_json.render(picture))["traceEvents"]
    named = {
        each["tid"]: each["args"]["name"]
        for each in events
        if each["name"] == "thread_name"
    }
    assert {each["tid"] for each in events if each["ph"] in "Xi" and "tid" in each} <= (
        set(named)
    )
    assert "vcpu0: section" in named.values()
    flows = [each["ph"] for each in events if each["ph"] in "sf"]
    assert flows == ["s", "f", "s", "f"]


# Perfetto.


def test_times_ascend_strictly() -> None:
    picture = picture_of_records(DELETE)
    times = Times(picture)
    at = [times.of(entry.seq) for entry in picture.entries]
    assert at == sorted(set(at))
    assert at[2:5] == [1_000, 2_000, 3_000]
    assert at[:2] == [0 + 1, 2] or at[0] < at[1] < 1_000


def test_the_wire_format() -> None:
    message = Message({1: 300, 2: "é", 3: Message({1: -1}), 4: [1, 2], 5: None})
    assert message.encode().hex() == "08ac0212" + "02c3a9" + (
        "1a0b08ffffffffffffffffff01" + "20012002"
    )
    assert Message({47: Fixed64(1)}).encode().hex() == "f9020100000000000000"
    with pytest.raises(TypeError):
        Message({1: 1.5}).encode()


@pytest.fixture(scope="module")
def packets(picture: Picture) -> Any:
    """The trace as Perfetto's own classes read it."""
    pytest.importorskip("google.protobuf", reason="the package perfetto is missing")
    trace_pb2 = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    trace = trace_pb2.Trace()
    data = perfetto.render(picture)
    assert trace.ParseFromString(data) == len(data)
    return trace.packet


def test_perfetto_knows_every_field(packets: Any) -> None:
    unknown = pytest.importorskip("google.protobuf.unknown_fields")
    for packet in packets:
        for message in (packet, packet.track_event, packet.track_descriptor):
            assert not list(unknown.UnknownFieldSet(message))


def test_perfetto_tracks_are_a_tree(packets: Any, picture: Picture) -> None:
    tracks = {
        packet.track_descriptor.uuid: packet.track_descriptor
        for packet in packets
        if packet.HasField("track_descriptor")
    }
    root = tracks[1]
    assert root.process.process_name == "memslots one delete"
    for track in tracks.values():
        assert track is root or track.parent_uuid in tracks
    top = {track.name for track in tracks.values() if track.parent_uuid == 1}
    assert {lane.name for lane in picture.lanes} <= top
    used = {p.track_event.track_uuid for p in packets if p.HasField("track_event")}
    assert used <= set(tracks)


def test_perfetto_slices_begin_and_end_in_order(packets: Any, picture: Picture) -> None:
    open_: dict[int, str] = {}
    slices, last = [], 0
    for packet in packets:
        event = packet.track_event
        if not packet.HasField("track_event"):
            continue
        assert packet.timestamp >= last
        last = packet.timestamp
        if event.type == event.TYPE_SLICE_BEGIN:
            assert event.track_uuid not in open_
            open_[event.track_uuid] = event.name
        elif event.type == event.TYPE_SLICE_END:
            slices.append(open_.pop(event.track_uuid))
    assert not open_
    assert len(slices) == len(picture.spans)
    assert "section set 0" in slices
    assert "grace-period grace period 1" in slices


def test_perfetto_flows_lead_from_each_reader(packets: Any) -> None:
    begun = {
        packet.track_event.name: packet.track_event
        for packet in packets
        if packet.track_event.type == packet.track_event.TYPE_SLICE_BEGIN
    }
    period = begun["grace-period grace period 1"]
    assert list(period.terminating_flow_ids) == [1, 2]
    assert list(begun["section set 0"].flow_ids) == [1]
    assert list(begun["section"].flow_ids) == [2]


def test_perfetto_counters_and_annotations(packets: Any) -> None:
    events = [p.track_event for p in packets if p.HasField("track_event")]
    counters = [e.counter_value for e in events if e.type == e.TYPE_COUNTER]
    assert counters == [0, 0, 1, 2, 1, 0]
    told = {
        event.name: {note.name: note for note in event.debug_annotations}
        for event in events
        if event.type == event.TYPE_INSTANT
    }
    notes = told["takes slots_lock"]
    assert notes["seq"].int_value == 6
    assert notes["lock"].string_value == "slots_lock"


# Files.


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_has_a_suffix_of_its_own(name: Format, tmp_path: Path) -> None:
    assert SUFFIXES[Path(f"a{FORMATS[name].suffix}").suffix] == name


def test_a_file_is_written(picture: Picture, tmp_path: Path) -> None:
    write_report(picture, tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == lanes_as_text.render(picture)
    write_report(picture, tmp_path / "b", "text")
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a.txt").read_bytes()


def test_a_file_that_cannot_be_written(picture: Picture, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*: Is a directory"):
        write_report(picture, tmp_path, "text")


def test_an_unknown_suffix() -> None:
    assert format_of(Path("report")) == "html"
    with pytest.raises(InputError, match=r"cannot tell the format of a\.docx"):
        format_of(Path("a.docx"))


def test_a_long_run_as_text_stays_short() -> None:
    run = [*endless_reader(50), Record(600, "gp", GracePeriodEnded(DOMAIN, 4))]
    assert len(lanes_as_text.render(picture_of_records(run)).splitlines()) < 165
