"""A short part of a run as a Mermaid sequence diagram, for Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scenarios.report.picture import Picture
from scenarios.report.words import words

LONGEST = 90


def render(picture: Picture) -> str:
    """The diagram of a picture."""
    return "".join(f"{line}\n" for line in _lines(picture))


def _lines(picture: Picture) -> Iterator[str]:
    used = sorted({entry.lane for entry in picture.entries})
    yield "sequenceDiagram"
    for lane in used:
        yield f"    participant L{lane} as {_safe(picture.lanes[lane].name)}"
    if not used:
        return
    everybody = f"L{used[0]},L{used[-1]}" if len(used) > 1 else f"L{used[0]}"
    if picture.notice:
        yield f"    Note over {everybody}: {_safe(picture.notice, 300)}"
    swaps = {swap.seq: swap for swap in picture.swaps}
    ends = {}
    for arrow in picture.arrows:
        section = picture.spans[arrow.section]
        if arrow.waited and section.end_seq is not None:
            ends[section.end_seq] = picture.spans[arrow.grace_period].lane
    for place, entry in enumerate(picture.entries):
        text = _safe(f"{entry.step}: {words(entry.event)}")
        if entry.seq in swaps:
            yield f"    Note over {everybody}: {text}"
        elif ends.get(entry.seq) in used:
            yield f"    L{entry.lane}->>L{ends[entry.seq]}: {text}"
        else:
            yield f"    L{entry.lane}->>L{entry.lane}: {text}"
        for flag in picture.flags_behind(place):
            seen = _safe(f"{flag.checker}: {flag.seen}", 300)
            yield f"    Note over {everybody}: VIOLATION {seen}"


def _safe(text: str, longest: int = LONGEST) -> str:
    """Text in which nothing means anything to Mermaid, HTML or Markdown."""
    cut = (
        text
        if len(text) <= longest
        else f"{text[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
    )
    return re.sub(r"[^\w .,()\[\]=/+:>-]", lambda c: f"#{ord(c[0])};", cut).replace(
        ">", "#62;"
    )
