"""The picture in Chrome's trace event format, as JSON.

Its bars must nest within a thread, so each row of a lane is a thread of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from scenarios.report.picture import Picture
from scenarios.report.times import Times
from scenarios.report.words import GROUP_OF, SPAN_GROUPS, plain, words

PID = 1
ROWS = 4_096
"""Rows that a lane can have, and one for its events."""


def render(picture: Picture) -> str:
    """The JSON of a picture."""
    events = ",\n".join(json.dumps(event) for event in _events(picture))
    other = {
        "scenario": picture.title,
        "verdict": picture.verdict,
        "notice": picture.notice,
    }
    about = json.dumps(other)
    return (
        f'{{"displayTimeUnit":"ns","otherData":{about},"traceEvents":[\n{events}\n]}}\n'
    )


def _events(picture: Picture) -> Iterator[dict[str, Any]]:
    times = Times(picture)
    yield _about("process_name", 0, {"name": f"memslots {picture.title}"})
    rows = {(entry.lane, 0): "" for entry in picture.entries}
    rows |= {(span.lane, span.row + 1): span.kind for span in picture.spans}
    for (lane, row), kind in sorted(rows.items()):
        name = picture.lanes[lane].name + (f": {kind}" if kind else "")
        yield _about("thread_name", lane * ROWS + row, {"name": name})
        order = {"sort_index": lane * ROWS + row}
        yield _about("thread_sort_index", lane * ROWS + row, order)
    for span in picture.spans:
        start, end = times.of(span.seq), times.of(span.end_seq)
        args: dict[str, Any] = {"step": span.start, "to_step": span.end}
        if span.held:
            args["held"] = [f"step {s}: as {a} set {n}" for s, a, n in span.held]
        yield {
            "ph": "X",
            "pid": PID,
            "tid": span.lane * ROWS + span.row + 1,
            "ts": start / 1_000,
            "dur": (end - start) / 1_000,
            "name": f"{span.kind} {span.label}".strip(),
            "cat": SPAN_GROUPS[span.kind],
            "args": args,
        }
    for entry in picture.entries:
        yield {
            "ph": "i",
            "s": "t",
            "pid": PID,
            "tid": entry.lane * ROWS,
            "ts": times.of(entry.seq) / 1_000,
            "name": words(entry.event),
            "cat": GROUP_OF.get(type(entry.event), "outside the model"),
            "args": {"seq": entry.seq, "event": entry.event.name} | plain(entry.event),
        }
    for number, arrow in enumerate(picture.arrows):
        section = picture.spans[arrow.section]
        period = picture.spans[arrow.grace_period]
        flow = {"pid": PID, "name": "waited for" if arrow.waited else "NOT waited for"}
        flow |= {"cat": "grace periods", "id": number}
        tid = section.lane * ROWS + section.row + 1
        ts = times.of(section.seq) / 1_000
        yield flow | {"ph": "s", "tid": tid, "ts": ts}
        end = times.of(period.seq)
        tid = period.lane * ROWS + period.row + 1
        yield flow | {"ph": "f", "bp": "e", "tid": tid, "ts": max(end / 1_000, ts)}
    for count in picture.ranks:
        name = f"{picture.lanes[count.lane].name}, rank {count.rank}"
        args = {"readers": count.locks - count.unlocks}
        ts = times.of(count.seq) / 1_000
        yield {"ph": "C", "pid": PID, "ts": ts, "name": name, "args": args}
    for swap in picture.swaps:
        name = f"set {swap.set} of as {swap.as_id} is published"
        ts = times.of(swap.seq) / 1_000
        yield {"ph": "i", "s": "g", "pid": PID, "ts": ts, "name": name, "cat": "sets"}
    for flag in picture.flags:
        seqs = [entry.seq for entry in picture.entries if entry.step == flag.step]
        if seqs:
            ts = times.of(seqs[-1]) / 1_000
            name = f"VIOLATION of {flag.checker}"
            args = {"seen": flag.seen, "causes": flag.causes}
            yield {"ph": "i", "s": "g", "pid": PID, "ts": ts, "name": name} | {
                "cat": "findings",
                "args": args,
            }


def _about(what: str, tid: int, args: dict[str, Any]) -> dict[str, Any]:
    return {"ph": "M", "pid": PID, "tid": tid, "name": what, "args": args}
