"""Records that a checker keeps to tell of them, although nothing depends on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Generic, TypeVar

import attrs

from rcu.trace import Record

MOST = 4_096
"""Records that are kept; when there is one more, all others are forgotten."""

Key = TypeVar("Key")


@attrs.define(eq=False)
class Notes(Generic[Key]):
    """The last record of each of several things.

    A search of orders takes states that differ in them for the same.
    """

    not_state: ClassVar[tuple[str, ...]] = ("_records",)

    # Made when it is needed: what is there before a run is state.
    _records: dict[Key, Record] | None = None

    def note(self, key: Key, record: Record) -> None:
        """Keep a record in place of the one before."""
        records = self._records
        if records is None or len(records) >= MOST:
            records = self._records = {}
        records[key] = record

    def steps(self, *keys: Key) -> list[int]:
        """The steps of records, as far as they are known."""
        records = self._records or {}
        return [records[key].step for key in keys if key in records]

    def __iter__(self) -> Iterator[Key]:
        """Yield what records are kept of."""
        return iter(self._records or ())
