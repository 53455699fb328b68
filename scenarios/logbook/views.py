"""The tables that a log can be asked for, in SQL over its lines.

A line is a row of the table ``log``, which holds only those fields that a question
names; see `scenarios.logbook.query`.
"""

from __future__ import annotations

import functools
import typing

import attrs

from rcu.trace import EVENT_TYPES

TEXT, TRUTH, NUMBER, NESTED = "VARCHAR", "BOOLEAN", "HUGEINT", "JSON"

LINE = {
    "seq": "BIGINT",
    "step": "BIGINT",
    "actor": TEXT,
    "op": "BIGINT",
    "event": TEXT,
}
"""What every line has; those of older logs have no ``op``."""


@functools.cache
def field_types() -> dict[str, str]:
    """The type of every field that an event may have, by its name.

    Where events disagree, or have more than one value, it is JSON.
    """
    found: dict[str, set[str]] = {}
    for kind in EVENT_TYPES.values():
        hints = typing.get_type_hints(kind)
        fields: tuple[attrs.Attribute[typing.Any], ...] = getattr(
            kind, "__attrs_attrs__", ()
        )
        for field in fields:
            found.setdefault(field.name, set()).update(_types(hints[field.name]))
    return {
        name: types.pop() if len(types) == 1 else NESTED
        for name, types in sorted(found.items())
    }


def _types(hint: object) -> set[str]:
    plain = {str: TEXT, bool: TRUTH, int: NUMBER}
    if isinstance(hint, type):
        return {plain.get(hint, NESTED)}
    if typing.get_origin(hint) is tuple:
        return {NESTED}
    inner = {each for each in typing.get_args(hint) if each is not type(None)}
    return {name for each in inner for name in _types(each)}


@attrs.frozen
class View:
    """A table that is made from the lines.

    Attributes:
        columns: Its columns, in order.
        fields: The fields of events that it needs.
        sql: The query that makes it.
        views: The views that it is made from.
        parameter: What it must be given, as a function; empty if it is a plain table.
    """

    columns: tuple[str, ...]
    fields: tuple[str, ...]
    sql: str
    views: tuple[str, ...] = ()
    parameter: str = ""


def _view(
    columns: str, fields: str, sql: str, views: str = "", parameter: str = ""
) -> View:
    return View(
        tuple(columns.split()),
        tuple(fields.split()),
        sql,
        tuple(views.split()),
        parameter,
    )


_SECTIONS = """
WITH marks AS (
  SELECT seq, step, actor, domain, srcu_idx, event = 'section_began' AS began,
    sum(if(event = 'section_began', 1, -1))
      OVER (PARTITION BY actor, domain, srcu_idx ORDER BY seq) AS open_after,
    sum(if(event = 'section_began', 1, -1))
      OVER (PARTITION BY actor, domain ORDER BY seq) AS depth
  FROM log WHERE event IN ('section_began', 'section_ended')
), paired AS (
  SELECT *, lead(seq) OVER own AS ended_seq, lead(step) OVER own AS ended_step
  FROM marks
  WINDOW own AS (
    PARTITION BY actor, domain, srcu_idx, open_after + if(began, 0, 1) ORDER BY seq
  )
)
SELECT actor, domain, srcu_idx, depth, seq AS began_seq, step AS began_step,
  ended_seq, ended_step, ended_step - step AS steps
FROM paired WHERE began ORDER BY seq
"""

# Outermost sections of a task do not overlap: the last one that began is the open one.
_GRACE_PERIODS = """
WITH paired AS (
  SELECT seq, step, actor, domain, gp_seq, event,
    lead(seq) OVER own AS ended_seq, lead(step) OVER own AS ended_step,
    lead(event) OVER own AS next
  FROM log WHERE event IN ('grace_period_started', 'grace_period_ended')
  WINDOW own AS (PARTITION BY domain ORDER BY seq)
), started AS (
  SELECT actor, domain, gp_seq, seq AS started_seq, step AS started_step,
    if(next = 'grace_period_ended', ended_seq, NULL) AS ended_seq,
    if(next = 'grace_period_ended', ended_step, NULL) AS ended_step
  FROM paired WHERE event = 'grace_period_started'
), outermost AS (
  SELECT * FROM sections WHERE depth = 1
), asked AS (
  SELECT started_seq, domain, reader FROM started JOIN (
    SELECT DISTINCT domain, actor AS reader FROM outermost
  ) USING (domain)
), held_up AS (
  SELECT asked.started_seq, count(*) AS readers
  FROM asked ASOF JOIN outermost AS s
    ON asked.domain = s.domain AND asked.reader = s.actor
    AND asked.started_seq > s.began_seq
  WHERE s.ended_seq IS NULL OR s.ended_seq > asked.started_seq
  GROUP BY asked.started_seq
)
SELECT domain, gp_seq, actor, started_seq, started_step, ended_seq, ended_step,
  ended_step - started_step AS steps, coalesce(readers, 0) AS readers
FROM started LEFT JOIN held_up USING (started_seq) ORDER BY started_seq
"""

_WAITS = """
WITH paired AS (
  SELECT seq, step, actor, domain, expedited, event,
    lead(seq) OVER own AS ended_seq, lead(step) OVER own AS ended_step
  FROM log WHERE event IN ('synchronize_began', 'synchronize_ended')
  WINDOW own AS (PARTITION BY actor, domain ORDER BY seq)
), waiting AS (
  SELECT actor AS waiter, domain, expedited, seq AS began_seq, step AS began_step,
    ended_seq, ended_step
  FROM paired WHERE event = 'synchronize_began'
), outermost AS (
  SELECT * FROM sections WHERE depth = 1
), asked AS (
  SELECT * FROM waiting JOIN (
    SELECT DISTINCT domain, actor AS reader FROM outermost
  ) USING (domain) WHERE reader <> waiter
)
SELECT a.domain, a.waiter, a.began_seq, a.began_step, a.ended_seq, a.ended_step,
  a.reader, s.began_seq AS section_began_seq, s.ended_seq AS section_ended_seq,
  s.ended_step - a.began_step AS steps,
  CASE WHEN a.ended_seq IS NULL THEN NULL
    ELSE coalesce(s.ended_seq < a.ended_seq, false) END AS waited
FROM asked AS a ASOF JOIN outermost AS s
  ON a.domain = s.domain AND a.reader = s.actor AND a.began_seq > s.began_seq
WHERE s.ended_seq IS NULL OR s.ended_seq > a.began_seq
ORDER BY a.began_seq, a.reader
"""

_SWAPS = """
SELECT seq, step, actor, as_id, "set", generation,
  row_number() OVER (PARTITION BY as_id ORDER BY seq) AS number
FROM log WHERE event = 'sets_swapped' ORDER BY seq
"""

_SET_READS = """
WITH published AS (
  SELECT seq, as_id, "set", number FROM swaps
  UNION ALL
  SELECT seq, as_id, 0, 0 FROM log WHERE event = 'address_space_made'
), reads AS (
  SELECT seq, step, actor, as_id, "set" FROM log WHERE event = 'set_dereferenced'
), inside AS (
  SELECT r.*, s.began_seq AS section_began_seq, s.ended_seq AS section_ended_seq
  FROM reads AS r ASOF JOIN (SELECT * FROM sections WHERE depth = 1) AS s
    ON r.actor = s.actor AND r.seq > s.began_seq
  WHERE s.ended_seq IS NULL OR s.ended_seq > r.seq
), entered AS (
  SELECT i.*, coalesce(p.number, -1) AS published
  FROM inside AS i ASOF LEFT JOIN published AS p
    ON i.as_id = p.as_id AND i."set" = p."set" AND i.seq > p.seq
), ended AS (
  SELECT *, coalesce(section_ended_seq, 9223372036854775807) AS until FROM entered
)
SELECT e.seq, e.step, e.actor, e.as_id, e."set", e.section_began_seq,
  e.section_ended_seq, coalesce(p.number, 0) - e.published AS age
FROM ended AS e ASOF LEFT JOIN published AS p
  ON e.as_id = p.as_id AND e.until > p.seq
ORDER BY e.seq
"""

_UPDATES = """
WITH marks AS (
  SELECT *, count(*) FILTER (event = 'sets_swapped')
    OVER (PARTITION BY actor ORDER BY seq) AS swapped
  FROM log
  WHERE event IN ('region_requested', 'region_returned', 'sets_swapped')
), asked AS (
  SELECT *, try_cast(slot AS HUGEINT) AS number FROM marks
  WHERE event = 'region_requested'
)
SELECT a.call, a.actor, a.number >> 16 AS as_id, a.number & 65535 AS id, r.change,
  r.result, a.flags, a.guest_phys_addr, a.memory_size, a.userspace_addr,
  a.seq AS requested_seq, a.step AS requested_step, r.seq AS returned_seq,
  r.step AS returned_step, r.step - a.step AS steps, r.swapped - a.swapped AS swaps
FROM asked AS a
LEFT JOIN (SELECT * FROM marks WHERE event = 'region_returned') AS r
  ON a.call = r.call
ORDER BY a.seq
"""

_LOOKUPS = """
SELECT seq, step, actor, as_id, "set", generation, gfn, found_in,
  (slot->>'serial')::HUGEINT AS serial, (slot->>'id')::HUGEINT AS id,
  (slot->>'base_gfn')::HUGEINT AS base_gfn, (slot->>'npages')::HUGEINT AS npages,
  (slot->>'userspace_addr')::HUGEINT AS userspace_addr,
  (slot->>'flags')::HUGEINT AS flags,
  ((slot->>'flags')::HUGEINT & 65536) <> 0 AS invalid
FROM log WHERE event = 'slot_looked_up' ORDER BY seq
"""

# A task that has waited has done nothing since its last record, and somebody else has
# given the lock back in between.
_LOCKS = """
WITH marks AS (
  SELECT seq, step, actor, lock, shared, event = 'lock_acquired' AS acquired,
    last_step, sum(if(event = 'lock_acquired', 1, -1))
      OVER (PARTITION BY actor, lock ORDER BY seq) AS held_after
  FROM (
    SELECT *, lag(step) OVER (PARTITION BY actor ORDER BY seq) AS last_step FROM log
  ) WHERE event IN ('lock_acquired', 'lock_released')
), paired AS (
  SELECT *, lead(seq) OVER own AS released_seq, lead(step) OVER own AS released_step
  FROM marks
  WINDOW own AS (
    PARTITION BY actor, lock, held_after + if(acquired, 0, 1) ORDER BY seq
  )
), held AS (
  SELECT * FROM paired WHERE acquired
), released AS (
  SELECT lock, shared, actor AS holder, released_seq AS seq, released_step AS step
  FROM held WHERE released_seq IS NOT NULL
), after_exclusive AS (
  SELECT h.*, r.seq AS x_seq, r.step AS x_step, r.holder AS x_holder
  FROM held AS h ASOF LEFT JOIN (SELECT * FROM released WHERE NOT shared) AS r
    ON h.lock = r.lock AND h.seq > r.seq
), after_both AS (
  SELECT h.*, r.seq AS s_seq, r.step AS s_step, r.holder AS s_holder
  FROM after_exclusive AS h ASOF LEFT JOIN (SELECT * FROM released WHERE shared) AS r
    ON h.lock = r.lock AND h.seq > r.seq
), after_last AS (
  SELECT *, NOT shared AND coalesce(s_seq, -1) > coalesce(x_seq, -1) AS by_shared
  FROM after_both
), blamed AS (
  SELECT *, if(by_shared, s_step, x_step) > last_step
      AND if(by_shared, s_holder, x_holder) <> actor AS blocked,
    if(by_shared, s_holder, x_holder) AS holder
  FROM after_last
)
SELECT lock, actor, shared, seq AS acquired_seq, step AS acquired_step, released_seq,
  released_step, released_step - step AS steps,
  if(blocked, holder, NULL) AS waited_for,
  if(blocked, step - last_step, NULL) AS waited_at_most
FROM blamed ORDER BY seq
"""

_SLOTS_AT = """
WITH RECURSIVE past AS (
  SELECT * FROM log WHERE seq <= at_seq AND event IN ('address_space_made',
    'slot_installed', 'slot_replaced', 'sets_swapped', 'set_copied', 'set_freed',
    'set_given_up')
), roots AS (
  SELECT as_id, unnest(range(least(try_cast(sets AS BIGINT), 2))) AS "set"
  FROM past WHERE event = 'address_space_made'
), copies AS (
  SELECT seq, as_id, "set", from_set FROM past WHERE event = 'set_copied'
), gone AS (
  SELECT as_id, "set" FROM past WHERE event IN ('set_freed', 'set_given_up')
), living AS (
  SELECT as_id, "set" FROM (
    SELECT as_id, "set" FROM roots UNION SELECT as_id, "set" FROM copies
  ) ANTI JOIN gone USING (as_id, "set")
), chain AS (
  SELECT as_id, "set", "set" AS origin, at_seq::HUGEINT AS until FROM living
  UNION
  SELECT chain.as_id, chain."set", copies.from_set, copies.seq
  FROM chain JOIN copies
    ON chain.as_id = copies.as_id AND chain.origin = copies."set"
    AND copies.seq <= chain.until
), entered AS (
  SELECT seq, as_id, "set", new AS slot FROM past WHERE event = 'slot_replaced'
  UNION ALL
  SELECT past.seq, as_id, roots."set", slot FROM past JOIN roots USING (as_id)
  WHERE event = 'slot_installed'
), marks AS (
  SELECT seq * 2 + 1 AS place, as_id, "set", (slot->>'serial')::HUGEINT AS serial, slot
  FROM entered WHERE slot->>'serial' IS NOT NULL
  UNION ALL
  SELECT seq * 2, as_id, "set", old, 'null' FROM past
  WHERE event = 'slot_replaced' AND old IS NOT NULL
), last AS (
  SELECT chain.as_id, chain."set", serial, max_by(slot, place) AS slot
  FROM chain JOIN marks
    ON chain.as_id = marks.as_id AND chain.origin = marks."set"
    AND place < chain.until * 2 + 2
  GROUP BY ALL
), active AS (
  SELECT as_id, max_by("set", seq) AS published FROM past
  WHERE event = 'sets_swapped' GROUP BY as_id
)
SELECT as_id, "set", "set" = coalesce(published, 0) AS active, serial,
  (slot->>'id')::HUGEINT AS id, (slot->>'base_gfn')::HUGEINT AS base_gfn,
  (slot->>'npages')::HUGEINT AS npages,
  (slot->>'userspace_addr')::HUGEINT AS userspace_addr,
  (slot->>'flags')::HUGEINT AS flags,
  ((slot->>'flags')::HUGEINT & 65536) <> 0 AS invalid
FROM last LEFT JOIN active USING (as_id)
WHERE slot->>'serial' IS NOT NULL ORDER BY as_id, "set", base_gfn, serial
"""

_SLOT = "serial id base_gfn npages userspace_addr flags invalid"

VIEWS: dict[str, View] = {
    "sections": _view(
        "actor domain srcu_idx depth began_seq began_step ended_seq ended_step steps",
        "domain srcu_idx",
        _SECTIONS,
    ),
    "grace_periods": _view(
        "domain gp_seq actor started_seq started_step ended_seq ended_step steps"
        " readers",
        "domain gp_seq",
        _GRACE_PERIODS,
        views="sections",
    ),
    "updates": _view(
        "call actor as_id id change result flags guest_phys_addr memory_size"
        " userspace_addr requested_seq requested_step returned_seq returned_step"
        " steps swaps",
        "call slot change result flags guest_phys_addr memory_size userspace_addr",
        _UPDATES,
    ),
    "lookups": _view(
        f"seq step actor as_id set generation gfn found_in {_SLOT}",
        "as_id set generation gfn found_in slot",
        _LOOKUPS,
    ),
    "locks": _view(
        "lock actor shared acquired_seq acquired_step released_seq released_step"
        " steps waited_for waited_at_most",
        "lock shared",
        _LOCKS,
    ),
    "swaps": _view(
        "seq step actor as_id set generation number",
        "as_id set generation",
        _SWAPS,
    ),
    "waits": _view(
        "domain waiter began_seq began_step ended_seq ended_step reader"
        " section_began_seq section_ended_seq steps waited",
        "domain expedited",
        _WAITS,
        views="sections",
    ),
    "set_reads": _view(
        "seq step actor as_id set section_began_seq section_ended_seq age",
        "as_id set",
        _SET_READS,
        views="sections swaps",
    ),
    "slots_at": _view(
        f"as_id set active {_SLOT}",
        "as_id set sets slot old new from_set",
        _SLOTS_AT,
        parameter="at_seq",
    ),
}
"""Every view but `events`, which has a column for every field of an event."""
