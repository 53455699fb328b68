"""Gathers what the lines of one file turn out to be.

One rule: every line ends in exactly one account: a call, a line of another kind,
an unknown line, or an update without an answer. Only blank lines and the second
line of a call that was counted already are in none.
"""

from __future__ import annotations

from collections import Counter

import attrs

from scenarios.printable import printable
from scenarios.traces.c_numbers import OutOfRange
from scenarios.traces.call import (
    GuestMemfdMade,
    RegionCall,
    Trace,
    TraceError,
    UnknownLine,
    UnknownLines,
)
from scenarios.traces.region import Region, read_region

CUT_OFF = "cut off"
NO_THREAD = "vmm"

_FIRST_UNKNOWN = 5
_SHOWN = 80
_MOST_KINDS = 256  # a hostile file must not fill the memory with names
_REST = "other kinds"


@attrs.frozen(slots=True)
class Update:
    """An update: who asked for what, when, and what came back if anything.

    Attributes:
        line: Where it stands; by default where it was entered.
    """

    entered: int
    returned: int
    thread: str
    vm: str
    region: Region
    result: int | None
    line: int | None = None


@attrs.define(slots=True)
class Tally:
    """The accounts of one file.

    Attributes:
        source: The file's name, for messages.
        max_calls: More updates than this are refused.
        slot_limit: Last answer about KVM_CAP_NR_MEMSLOTS.
        vcpus: vCPUs created so far.
        others: Lines that are no update, by kind. New kinds come through
            ``add_other``, which keeps their number bounded.
        guest_memfds: guest_memfds made so far.
        assumed: What was made up.
    """

    source: str
    max_calls: int
    slot_limit: int | None = None
    vcpus: int = 0
    others: Counter[str] = attrs.field(factory=Counter, init=False)
    guest_memfds: list[GuestMemfdMade] = attrs.field(factory=list, init=False)
    assumed: list[str] = attrs.field(factory=list, init=False)
    _calls: list[Update] = attrs.field(factory=list, init=False)
    _pending: list[Update] = attrs.field(factory=list, init=False)
    _unknown: Counter[str] = attrs.field(factory=Counter, init=False)
    _first: list[UnknownLine] = attrs.field(factory=list, init=False)
    _unreturned: list[int] = attrs.field(factory=list, init=False)
    _undecoded: list[int] = attrs.field(factory=list, init=False)

    def add(self, call: Update) -> None:
        """Enter an update with its answer.

        Raises:
            TraceError: The file holds more updates than allowed.
        """
        if len(self._calls) >= self.max_calls:
            raise self.error(
                f"more than {self.max_calls} memory-region updates; raise the bound "
                f"with --max-calls N, or cut the file: head -n {call.entered - 1} FILE",
                call.entered,
            )
        self._calls.append(call)

    def add_other(self, kind: str) -> None:
        """Enter a line that was understood and is no update."""
        _count(self.others, kind)

    def add_unknown(self, line: int, text: str, why: str) -> None:
        """Enter a line that was not understood."""
        _count(self._unknown, why)
        if len(self._first) < _FIRST_UNKNOWN or why == CUT_OFF:
            self._first.append(UnknownLine(line, printable(text.strip(), _SHOWN), why))

    def add_undecoded(self, line: int, text: str, why: str, result: int | None) -> None:
        """Enter an update of which only the answer is known."""
        self.add_unknown(line, text, why)
        if not result:  # it may have succeeded
            self._undecoded.append(line)

    def add_unreturned(self, line: int) -> None:
        """Enter an update whose answer is not in the file, nor what it asked for."""
        self._unreturned.append(line)

    def add_pending(self, call: Update) -> None:
        """Enter an update whose answer is not in the file."""
        self._unreturned.append(call.entered)
        self._pending.append(call)

    def region(
        self, line: int, text: str, fields: dict[str, str], result: int | None
    ) -> Region | None:
        """Return the region in *fields*, or None after entering it as undecoded.

        Raises:
            TraceError: A number does not fit its field.
        """
        try:
            return read_region(fields)
        except OutOfRange as error:
            raise self.error(f"{error}; correct or delete the line", line) from None
        except ValueError as error:
            self.add_undecoded(line, text, str(error), result)
            return None

    def error(self, message: str, line: int | None = None) -> TraceError:
        """Return the error to raise about this file."""
        return TraceError(self.source, message, line)

    def seen(self) -> str:
        """Return the kinds of lines met, most frequent first, for a message."""
        parts = [f"{kind} {count}" for kind, count in self.others.most_common(5)]
        if self._unreturned:
            parts.append(f"update without an answer {len(self._unreturned)}")
        if self._unknown:
            line = self._first[0]
            parts.append(
                f"unknown {self._unknown.total()}, the first in line {line.line} "
                f"({line.why}): {line.text!r}"
            )
        return ", ".join(parts) or "all blank"

    def has_calls(self) -> bool:
        """Return whether any update has its answer."""
        return bool(self._calls)

    def finish(self, format_name: str, lines: int) -> Trace:
        """Return the trace; the tally is not used afterwards."""
        calls = _numbered(self._calls, 0)
        unknown = UnknownLines(
            count=self._unknown.total(),
            by_why=dict(self._unknown),
            first=tuple(self._first),
        )
        return Trace(
            source=self.source,
            format=format_name,
            calls=calls,
            slot_limit=self.slot_limit,
            vcpus=self.vcpus,
            vms=tuple(dict.fromkeys(call.vm for call in calls)),
            lines=lines,
            other_lines=dict(self.others),
            unknown_lines=unknown,
            unreturned=tuple(sorted(self._unreturned)),
            pending=_numbered(self._pending, len(calls)),
            undecoded=tuple(sorted(self._undecoded)),
            guest_memfds=tuple(self.guest_memfds),
            assumed=tuple(self.assumed),
        )


def _numbered(updates: list[Update], first: int) -> tuple[RegionCall, ...]:
    """The updates in order of entry, numbered from *first*."""
    ordered = sorted(updates, key=lambda update: update.entered)
    return tuple(_call(index, update) for index, update in enumerate(ordered, first))


def _call(index: int, call: Update) -> RegionCall:
    region = call.region
    return RegionCall(
        index=index,
        line=call.line or call.entered,
        thread=call.thread or NO_THREAD,
        vm=call.vm,
        slot=region.slot,
        flags=region.flags,
        guest_phys_addr=region.guest_phys_addr,
        memory_size=region.memory_size,
        userspace_addr=region.userspace_addr,
        result=call.result,
        entered=call.entered,
        returned=call.returned,
        guest_memfd=region.guest_memfd,
        guest_memfd_offset=region.guest_memfd_offset,
        v2=region.v2,
    )


def _count(counter: Counter[str], key: str) -> None:
    if key not in counter and len(counter) >= _MOST_KINDS:
        key = _REST
    counter[key] += 1
