"""One HTML file with everything in it: the picture, its style, its script.

What comes from the log is in one block of JSON, from which the script makes text and
never markup; a content security policy allows this style and this script only.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from typing import Any

import attrs

from memslots.tracepoints import SlotData
from scenarios.checkers.judge import CHECKERS
from scenarios.report.picture import Picture, SetChange, SetState, Span
from scenarios.report.words import (
    GROUP_OF,
    GROUPS,
    SPAN_GROUPS,
    raw,
    words,
)

LARGEST = (1 << 53) - 1
"""The largest integer that JavaScript is sure of."""

OTHER = "outside the model"


def render(picture: Picture) -> str:
    """The page of a picture."""
    style, script = _file("timeline.css"), _file("timeline.js")
    policy = (
        f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none';"
        f" style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    parts = {
        "policy": html.escape(policy),
        "title": html.escape(picture.title),
        "style": style,
        "script": script,
        "data": _json(as_data(picture)),
    }
    page = _file("timeline.html")
    head, *rest = page.split("{{")
    pieces = [head]
    for each in rest:
        name, _, text = each.partition("}}")
        pieces += [parts[name], text]
    return "".join(pieces)


def as_data(picture: Picture) -> dict[str, Any]:
    """What the script reads: short lists instead of objects, as there are many."""
    groups = list(GROUPS)
    names = sorted({entry.event.name for entry in picture.entries})
    name_of = {name: place for place, name in enumerate(names)}
    kinds = list(SPAN_GROUPS)
    return {
        "title": picture.title,
        "facts": picture.facts,
        "verdict": picture.verdict,
        "reasons": picture.reasons,
        "ending": picture.ending,
        "notice": picture.notice,
        "events": picture.events,
        "steps": picture.steps,
        "first": picture.first,
        "last": picture.last,
        "focus": picture.focus,
        "groups": groups,
        "names": names,
        "kinds": kinds,
        "kindGroups": [groups.index(SPAN_GROUPS[kind]) for kind in kinds],
        "lanes": [[lane.name, lane.kind, lane.rows] for lane in picture.lanes],
        "spans": [_span(kinds, span) for span in picture.spans],
        "entries": [
            [
                entry.seq,
                entry.step,
                entry.lane,
                name_of[entry.event.name],
                groups.index(GROUP_OF.get(type(entry.event), OTHER)),
                words(entry.event),
                raw(entry.event),
            ]
            for entry in picture.entries
        ],
        "arrows": [
            [arrow.section, arrow.grace_period, int(arrow.waited)]
            for arrow in picture.arrows
        ],
        "swaps": [[swap.step, swap.as_id, swap.set] for swap in picture.swaps],
        "sets": [_set(state) for state in picture.sets],
        "changes": [_change(change) for change in picture.changes],
        "ranks": [
            [count.step, count.lane, count.rank, count.locks, count.unlocks]
            for count in picture.ranks
        ],
        "flags": [
            attrs.asdict(flag)
            | {"source": CHECKERS[flag.checker].source if known else ""}
            for flag in picture.flags
            for known in [flag.checker in CHECKERS]
        ],
    }


def _span(kinds: list[str], span: Span) -> list[Any]:
    end = -1 if span.end is None else span.end
    flags = 2 * span.invalid + span.active
    which = -1 if span.set is None else _safe(span.set)
    held = [[step, as_id, _safe(number)] for step, as_id, number in span.held]
    kind = kinds.index(span.kind)
    start = span.start
    return [span.lane, span.row, kind, start, end, span.label, which, flags, held]


def _set(state: SetState) -> list[Any]:
    return [
        _safe(state.as_id),
        _safe(state.set),
        int(state.active),
        _generation(state.generation),
        [_slot(slot) for slot in state.slots],
    ]


def _change(change: SetChange) -> list[Any]:
    return [
        change.step,
        _safe(change.as_id),
        _safe(change.set),
        change.kind,
        None if change.old is None else _safe(change.old),
        None if change.new is None else _slot(change.new),
        None if change.generation is None else _generation(change.generation),
        None if change.source is None else _safe(change.source),
    ]


def _slot(slot: SlotData) -> list[Any]:
    return [
        _safe(slot.serial),
        _safe(slot.id),
        _safe(slot.base_gfn),
        _safe(slot.npages),
        f"{slot.userspace_addr:#x}",
        _safe(slot.flags),
    ]


def _generation(generation: int) -> str:
    """As text: with the mark it has more bits than a number of JavaScript."""
    mark = 1 << 63
    return f"{generation & ~mark}" + (
        ", update in progress" if generation & mark else ""
    )


def _safe(number: int) -> int:
    return max(-LARGEST, min(number, LARGEST))


def _json(data: object) -> str:
    """JSON that cannot end the element it is in."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _file(name: str) -> str:
    return resources.files("scenarios.report").joinpath(name).read_text("utf-8")
