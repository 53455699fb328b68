"""Reads a layout: what QEMU's monitor prints for ``info mtree -f``.

A range that KVM maps ends in `` KVM``, once for each of its address spaces, and is a
slot. A layout is no recording: its slots are made in the order of the file, which all
succeeds. Slot numbers and host addresses are not in it and are made up.

QEMU: mtree_print_flatview, system/memory.c
"""

from __future__ import annotations

import re

import attrs

from memslots.profile import X86_64_LINUX_6_18
from memslots.slot import READONLY
from memslots.units import PAGE_SIZE
from scenarios.traces.mail import clean
from scenarios.traces.region import Region
from scenarios.traces.tally import Tally, Update

NAME = "mtree"

ADDRESS_SPACES = 2
"""Address spaces that KVM has on x86: normal and system management mode."""

HOST_START = 1 << 44
HOST_END = X86_64_LINUX_6_18.user_address_end
_HOST_ALIGNMENT = 1 << 21

_COMMAND = re.compile(r"\(qemu\) info mtree\b")
_VIEW = re.compile(r"FlatView #(\d+)\s*$")
_TREE = re.compile(r"(?:address-space|memory-region): \S")
_RANGE = re.compile(
    r"\s*(?P<first>[0-9a-f]{16})-(?P<last>[0-9a-f]{16}) \(prio -?\d+, (?P<kind>\S+)\): "
    r"(?P<name>.*?)(?: @(?P<offset>[0-9a-f]{16}))?"
    r"(?P<slots>(?: (?:KVM|kvm)(?::\w+)*)*)(?: (?:owner|parent):.*)?\s*$"
)
_REST_OF_RANGE = re.compile(r"\s*(?:@[0-9a-f]{16}(?=\s|$)|KVM\s|KVM$)")
_OTHERS = (
    (re.compile(r' *AS "'), "address space"),
    (re.compile(r" *Root memory region: "), "root memory region"),
    (re.compile(r" *No rendered FlatView"), "empty flat view"),
    (re.compile(r"\(qemu\)|QEMU \d"), "monitor prompt"),
)
_CPU = re.compile(r' *AS "cpu-memory-\d+"')
_DISPATCH = re.compile(r" *Dispatch\s*$")
_LONGEST = 1000


def recognises(text: str) -> bool:
    """Return whether a line can be nothing but the monitor's."""
    text = clean(text)
    return any(pattern.match(text) for pattern in (_VIEW, _TREE, _COMMAND))


@attrs.frozen(slots=True)
class _Slot:
    """A range that KVM maps.

    Attributes:
        line: Where it stands.
        as_id: The address space.
        first: First guest-physical byte.
        size: Bytes.
        readonly: Whether the guest may only read it.
        block: Name of the memory that backs it.
        offset: Where it begins in that memory.
    """

    line: int
    as_id: int
    first: int
    size: int
    readonly: bool
    block: str
    offset: int


@attrs.define(slots=True)
class MtreeParser:
    """Takes the lines one by one and enters what they are into a tally."""

    tally: Tally
    _views: set[str] = attrs.field(factory=set, init=False)
    _slots: list[_Slot] = attrs.field(factory=list, init=False)
    _spaces: int = attrs.field(default=0, init=False)  # of the views before
    _shared: int = attrs.field(default=0, init=False)  # address spaces of this view
    _dispatch: bool = attrs.field(default=False, init=False)
    _held: tuple[int, str] | None = attrs.field(default=None, init=False)

    def line(self, number: int, text: str) -> None:
        """Take one line."""
        text = clean(text)
        held, self._held = self._held, None
        if held is not None and _REST_OF_RANGE.match(text) and len(text) < _LONGEST:
            self._held = held[0], f"{held[1].rstrip()} {text.strip()}"
            return
        self._take_range(held)
        if _RANGE.match(text) is not None and not self._dispatch:
            self._held = number, text
        elif text.strip():
            self._other(number, text)
        else:
            self._dispatch = False

    def last(self, number: int, text: str) -> None:
        """Take the last line, which no newline ends."""
        self.line(number, text)

    def finish(self) -> None:
        """Enter the slots.

        Raises:
            TraceError: There are none, or they do not fit into a process.
        """
        held, self._held = self._held, None
        self._take_range(held)
        if not self._slots:
            raise self.tally.error(
                f"no range of the layout is marked KVM ({self.tally.seen()}); take it"
                " from a machine that runs with -accel kvm"
            )
        start = self._place_blocks()
        places = dict.fromkeys(range(ADDRESS_SPACES), 0)
        self._slots.sort(key=lambda slot: (slot.as_id, slot.line))
        for entered, slot in enumerate(self._slots, 1):
            region = Region(
                slot=slot.as_id << 16 | places[slot.as_id],
                flags=READONLY if slot.readonly else 0,
                guest_phys_addr=slot.first,
                memory_size=slot.size,
                userspace_addr=start[slot.block] + slot.offset,
                guest_memfd=None,
                guest_memfd_offset=None,
                v2=False,
            )
            places[slot.as_id] += 1
            self.tally.add(Update(entered, entered, "", "", region, 0, line=slot.line))
        self.tally.assumed.append(
            "a layout says neither in which order its slots were made nor their numbers"
            " and host addresses: they are made one after the other, at addresses that"
            " are made up"
        )

    def _other(self, number: int, text: str) -> None:
        view = _VIEW.match(text)
        if view is not None:
            self._begin_view(number, view[1])
        elif _TREE.match(text):
            raise self.tally.error(
                "this is 'info mtree', which does not say what KVM maps; give what"
                " 'info mtree -f' prints",
                number,
            )
        elif _DISPATCH.match(text) or self._dispatch:
            self._dispatch = True
            self.tally.add_other("dispatch tree")
        else:
            self.tally.vcpus += _CPU.match(text) is not None
            for pattern, kind in _OTHERS:
                if pattern.match(text):
                    self.tally.add_other(kind)
                    return
            self.tally.add_unknown(number, text, "no line of a layout")

    def _begin_view(self, number: int, name: str) -> None:
        if name in self._views:
            raise self.tally.error(
                f"a second layout begins here (FlatView #{name}); give one a file",
                number,
            )
        self._views.add(name)
        self._spaces += self._shared
        self._shared = 0
        self._dispatch = False
        self.tally.add_other("flat view")

    def _take_range(self, held: tuple[int, str] | None) -> None:
        match = None if held is None else _RANGE.match(held[1])
        if held is None or match is None:
            return
        number, text = held
        spaces = len(match["slots"].split())
        if not spaces:
            self.tally.add_other(f"{match['kind'][:20]} range without a slot")
            return
        first, last = int(match["first"], 16), int(match["last"], 16)
        offset = int(match["offset"] or "0", 16)
        if last < first or (first | last + 1 | offset) % PAGE_SIZE:
            self.tally.add_unknown(number, text, "a slot that is not whole pages")
            return
        self._shared = max(self._shared, spaces)
        if self._spaces + self._shared > ADDRESS_SPACES:
            raise self.tally.error(
                f"KVM maps more than {ADDRESS_SPACES} address spaces; give a layout of"
                " an x86 machine",
                number,
            )
        self._slots += [
            _Slot(
                line=number,
                as_id=self._spaces + place,
                first=first,
                size=last + 1 - first,
                readonly="rom" in match["kind"],
                block=match["name"],
                offset=offset,
            )
            for place in range(spaces)
        ]

    def _place_blocks(self) -> dict[str, int]:
        """Return where in the host each block of memory begins, one after the other.

        Raises:
            TraceError: They do not fit into a process.
        """
        sizes: dict[str, int] = {}
        for slot in self._slots:
            end = slot.offset + slot.size
            sizes[slot.block] = max(sizes.get(slot.block, 0), end)
        start = {}
        free = HOST_START
        for block, size in sizes.items():
            start[block] = free
            free += -(-size // _HOST_ALIGNMENT) * _HOST_ALIGNMENT
        if free > HOST_END:
            raise self.tally.error(
                f"the ranges take {free - HOST_START:#x} bytes of host memory; a"
                f" process has room for {HOST_END - HOST_START:#x}"
            )
        return start
