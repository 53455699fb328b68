"""What the documentation derives from the code: tables, and what commands print.

``python -m tests.architecture.derived`` writes it; a test holds the pages against it.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import tempfile
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs

from memslots.tracepoints import SlotData
from rcu.trace import EVENT_TYPES, Event
from scenarios.catalogue.entries import entries
from scenarios.checkers.invariants import INVARIANTS, watchers
from scenarios.checkers.judge import CHECKERS
from scenarios.explorer.blocks import tell_blocks
from scenarios.logbook.schema import TRACEPOINTS, field_names
from scenarios.logbook.writer import Header
from scenarios.mutants.registry import Registered, limits, registered
from scenarios.mutants.schedules import Again, kept_orders, make_again
from scenarios.mutants.steps import Step
from tests.architecture.exercised import chosen
from tests.architecture.pages import (
    DOCS,
    Done,
    missing_programs,
    run_page,
    runnable_pages,
    without_seconds,
)
from tests.architecture.scenario_keys import default_of, tables, value_of
from tests.architecture.series import BULLETS, PATCHES
from tests.architecture.sources import sources

# What events with a single obvious field do not spell out.
_KNOWN_FIELDS = {
    "as_id": "Address space.",
    "callback": "The callback's name.",
    "domain": "The domain's name.",
    "expedited": "Whether the task is in a hurry.",
    "generation_step": "By how much the generation grows with each swap.",
    "gp_seq": "Its sequence number, state bits included.",
    "lock": "The lock's name.",
    "rank": "0 or 1.",
    "slot": "The slot.",
    "srcu_idx": "The index; its low bit is the rank.",
}
_TASKS = ("writers", "vcpus", "readers", "notifiers", "allocators")
_JSON_TYPES: dict[object, str] = {
    bool: "true or false",
    int: "integer",
    str: "string",
    type(None): "null",
    SlotData: "slot",
}


def kernel_map() -> list[str]:
    """Each source that the code names, and what models it."""
    files: dict[tuple[str, str], set[str]] = {}
    models: dict[tuple[str, str], list[str]] = {}
    for source in sources():
        # A file that is meant as a whole stands for itself.
        key = (source.project, source.name or source.file)
        files.setdefault(key, set()).update({source.file} - {""})
        models.setdefault(key, []).append(source.ours)
    run_in = exercised()
    rows = [
        (
            project,
            _code(name),
            _codes(sorted(files[project, name])),
            _codes(ours),
            next((_code(run_in[each]) for each in ours if each in run_in), ""),
        )
        for (project, name), ours in sorted(models.items())
    ]
    return _table(("project", "theirs", "file", "ours", "run in"), rows)


@functools.cache
def exercised() -> dict[str, str]:
    """A scenario of the catalogue for whatever of ours one of them runs."""
    return chosen({source.ours for source in sources()}, entries())


def patches() -> list[str]:
    """Each patch of the series, where it lives and what shows it."""
    rows = [
        (f"{patch.number:02}", patch.subject, _codes(patch.ours), _codes(patch.tests))
        for patch in PATCHES
    ]
    return _table(("#", "subject", "ours", "shown by"), rows)


def bullets() -> list[str]:
    """Each behaviour that the cover letter implies, where it lives, what shows it."""
    rows = [
        (bullet.says, _codes(bullet.ours), _codes(bullet.tests)) for bullet in BULLETS
    ]
    return _table(("behaviour", "ours", "shown by"), rows)


def events() -> list[str]:
    """Each event with its fields, by the room that tells it."""
    lines: list[str] = []
    for module in TRACEPOINTS:
        lines += [f"### From `{module.__name__}`", ""]
        for kind in vars(module).values():
            if _is_event_of(kind, module):
                lines += _event(kind)
    return lines[:-1]


def header_fields() -> list[str]:
    """The fields of the first line."""
    return _fields(Header)


def slot_fields() -> list[str]:
    """The keys of a slot."""
    return _fields(SlotData)


def checkers() -> list[str]:
    """Each checker with its rule and its source."""
    rows = [
        (f"[{_code(id_)}](#{id_})", kind.sentence, kind.source)
        for id_, kind in CHECKERS.items()
    ]
    return _table(("id", "rule", "source"), rows)


def invariants() -> list[str]:
    """Each invariant and the checkers that stand for it."""
    watched_by = watchers(CHECKERS)
    rows = [
        (
            number,
            text,
            ", ".join(f"[{_code(id_)}](#{id_})" for id_ in watched_by[number]),
        )
        for number, text in INVARIANTS.items()
    ]
    return _table(("#", "invariant", "watched by"), rows)


def scenario_tables() -> list[str]:
    """Each table of a scenario file with its keys."""
    lines: list[str] = []
    for table in tables():
        told, _ = _docstring(table.kind)
        meanings = dict.fromkeys(_TASKS, "The tasks.")
        for each in reversed(table.kind.__mro__[:-1]):
            meanings |= _docstring(each)[1]
        rows = [
            (
                _code(field.name),
                value_of(table.kind, field),
                default_of(field),
                meanings[field.name],
            )
            for field in attrs.fields(table.kind)
        ]
        keys = _table(("key", "value", "default", "meaning"), rows)
        lines += [f"### {table.heading}", "", told, "", *keys, ""]
    return lines[:-1]


def steps() -> list[str]:
    """Each step of the protocol, and what happens without it."""
    mutants = list(registered().values())
    again = {each.registered.mutant.id: each for each in make_again(kept_orders())}
    lines: list[str] = []
    part = ""
    for step in Step:
        if step.part != part:
            part = step.part
            lines += [f"## {PARTS[part]}", ""]
        lines += [f"### {step.value}", ""]
        for each in mutants:
            if each.mutant.step is step:
                lines += _without_it(each, again.get(each.mutant.id))
    return lines[:-1]


def _without_it(each: Registered, again: Again | None) -> list[str]:
    mutant = each.mutant
    module = f"../../scenarios/mutants/families/{each.family.replace('-', '_')}.py"
    lines = [
        f"**{mutant.id}: {mutant.title}.** {mutant.why}",
        f"Known from: {mutant.provenance}.",
        f"Source: [{each.family}]({module}); `memslots mutants show {mutant.id}`.",
        "",
    ]
    if again is None or again.run is None or again.run.finding is None:
        return lines
    run, finding = again.run, again.run.finding
    count = f"{run.preemptions} preemption{'s' * (run.preemptions != 1)}"
    checker = f"[{_code(finding.checker)}](../reference/checkers.md#{finding.checker})"
    if finding.checker not in CHECKERS:
        checker = _code(finding.checker)
    seen = finding.seen.replace("`", "'").replace("<", "&lt;")
    return [
        *lines[:-1],
        f"Noticed by {checker}: {seen}.",
        "",
        f"<details><summary>{len(run.steps)} steps, {count}</summary>",
        "",
        "```text",
        *tell_blocks(run.steps),
        "```",
        "",
        "</details>",
        "",
    ]


def not_promised() -> list[str]:
    """What users may stumble over although nothing is broken."""
    rows = [
        (limit.id, limit.title, limit.observed, _code(limit.scenario))
        for limit in limits()
    ]
    return _table(("id", "not promised", "what may be observed", "scenario"), rows)


PARTS = {
    "call": "One call",
    "set": "The sets",
    "swap": "From one set to the other",
    "invalid": "Before a slot may leave or move",
    "srcu": "Sleepable RCU",
    "read": "Who reads the sets",
    "fault": "A page fault",
    "mmio": "MMIO caches",
    "notifier": "The MMU notifier",
    "log": "Dirty logging",
    "teardown": "The end of a VM",
    "bus": "Buses",
}
"""What the parts of the protocol are called."""


TABLES: dict[str, dict[str, Callable[[], list[str]]]] = {
    "kernel-map.md": {
        "patches": patches,
        "bullets": bullets,
        "kernel-map": kernel_map,
    },
    "reference/log-schema.md": {
        "events": events,
        "header": header_fields,
        "slot": slot_fields,
    },
    "reference/checkers.md": {"checkers": checkers, "invariants": invariants},
    "reference/scenario-format.md": {"tables": scenario_tables},
    "explanation/why-each-step.md": {"steps": steps, "limits": not_promised},
}
"""Every derived table: by page below ``docs/``, then by the name of its markers."""


def with_tables(text: str, tables: dict[str, Callable[[], list[str]]]) -> str:
    """The text of a page with its tables as they should be.

    Raises:
        ValueError: It lacks the markers of one.
    """
    for name, make in tables.items():
        begin, end = f"<!-- derived: {name} -->\n", f"<!-- end: {name} -->\n"
        before, found_begin, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            raise ValueError(f"the markers of {name} are missing")
        table = "".join(f"{line}\n" for line in make())
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def with_outputs(text: str, page_done: Iterable[Done]) -> str:
    """The text of a page whose blocks show what their commands print.

    Times by the wall clock stay as they are written.
    """
    lines = text.splitlines()
    for done in reversed(list(page_done)):
        block = done.block
        if block.kind != "console" or not block.shows_output:
            continue
        if without_seconds(block.lines) != without_seconds(done.output):
            lines[block.place : block.place + len(block.lines)] = done.output
    return "".join(f"{line}\n" for line in lines)


def main(names: list[str]) -> None:
    """Write the tables of all pages, and the outputs of those that are run.

    Args:
        names: Pages whose commands are run; by default all.
    """
    for name, makers in TABLES.items():
        page = DOCS / name
        page.write_text(with_tables(page.read_text(), makers))
    wanted = {Path(name).resolve() for name in names}
    for page in runnable_pages():
        if (wanted and page not in wanted) or missing_programs(page):
            continue
        with tempfile.TemporaryDirectory() as folder:
            done = list(run_page(page, Path(folder)))
        page.write_text(with_outputs(page.read_text(), done))


def _event(kind: type[Event]) -> list[str]:
    told, _ = _docstring(kind)
    fields = _fields(kind) if field_names(kind) else ["It has no fields of its own."]
    return [f"#### {_code(kind.name)}", "", told, "", *fields, ""]


def _fields(kind: type) -> list[str]:
    _, meanings = _docstring(kind)
    hints = typing.get_type_hints(kind)
    rows = [
        (
            _code(field.name),
            _json_type(hints[field.name]),
            meanings.get(field.name) or _KNOWN_FIELDS[field.name],
        )
        for field in attrs.fields(kind)
    ]
    return _table(("field", "type", "meaning"), rows)


def _is_event_of(kind: object, module: types.ModuleType) -> bool:
    return (
        isinstance(kind, type)
        and issubclass(kind, Event)
        and kind.__module__ == module.__name__
    )


def _docstring(kind: type) -> tuple[str, dict[str, str]]:
    """The first sentence of a class, and what it says of its attributes."""
    text = inspect.cleandoc(kind.__doc__ or "")
    head, _, rest = text.partition("\nAttributes:\n")
    meanings: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \w)", f"\n{rest.partition(chr(10) * 2)[0]}"):
        name, colon, meaning = entry.strip().partition(": ")
        if colon:
            meanings[name] = _markdown(meaning)
    return _markdown(head), meanings


def _markdown(text: str) -> str:
    """A docstring's text as the log's reader knows things."""
    text = " ".join(text.replace("``", "`").split()).replace("None if", "null if")
    return re.sub(r"`(\w+)`", lambda found: _code(_in_log(found[1])), text)


def _in_log(name: str) -> str:
    return next((k.name for k in EVENT_TYPES.values() if k.__name__ == name), name)


def _json_type(hint: object) -> str:
    if hint in _JSON_TYPES:
        return _JSON_TYPES[hint]
    kinds = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        if kinds[-1] is ...:
            return f"array of {_json_type(kinds[0])}"
        return f"[{', '.join(map(_json_type, kinds))}]"
    return " or ".join(_json_type(kind) for kind in kinds)


def _code(text: str) -> str:
    return f"`{text}`"


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(map(_code, texts))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    main(sys.argv[1:])
