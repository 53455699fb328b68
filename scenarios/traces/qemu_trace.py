"""Reads QEMU's trace event ``kvm_set_user_memory`` from its log backend.

The event is found anywhere in a line: what stands before it depends on version
and options. Its values are ``key=value`` or ``key#value`` pairs, and the event is
written when the call has returned, so each takes place at one line.

QEMU: kvm_set_user_memory, accel/kvm/trace-events
"""

from __future__ import annotations

import re

import attrs

from scenarios.traces.c_numbers import OutOfRange, answer
from scenarios.traces.mail import MailDecoder, clean
from scenarios.traces.tally import CUT_OFF, Tally, Update

NAME = "qemu-trace"

_EVENT_NAME = "kvm_set_user_memory"
_NO_VM = ""  # one QEMU process runs one VM
_LONGEST_EVENT = 2000
_PREFIX_WINDOW = 120
_MOST_NAMES = 256

# Not the message "kvm_set_user_memory_region: ... failed", nor a C prototype.
_EVENT = re.compile(rf"(?<!\w){_EVENT_NAME}(?=\s+(?:AddrSpace|Slot)#|\s*$)")
_THREAD = re.compile(r"(?:\b(\d+)@\d+\.\d+:|\((\d+):[^()]*\):)\s*$")
_PAIR = re.compile(r"(\w+)[=#]([-+]?\w+)")
_KEYS = (
    "AddrSpace|Slot|flags|gpa|size|ua|ret|guest_memfd|guest_memfd_offset"
    "|gmem_fd|gmem_offset|restricted_fd|restricted_offset"
)
_ONLY_PAIRS = re.compile(rf"\s*(?:(?:{_KEYS})[=#]\S++\s*+)+")
_OTHER_EVENT = re.compile(
    r"\s*(?:-> )?(?:\d+@\d+\.\d+:|\d{4}-\d\d-\d\dT\S+\s)?\s*"
    r"([a-z][a-z0-9]*(?:_[a-z0-9]+)+)(?=\s|$)"
)
_FAILED = re.compile(r"KVM_SET_USER_MEMORY_REGION2?\s+failed")
_KERNEL_NAMES = {
    "AddrSpace": "as_id",
    "Slot": "slot",
    "gpa": "guest_phys_addr",
    "size": "memory_size",
    "ua": "userspace_addr",
    "gmem_fd": "guest_memfd",
    "gmem_offset": "guest_memfd_offset",
    "restricted_fd": "guest_memfd",
    "restricted_offset": "guest_memfd_offset",
}


def recognises(text: str) -> bool:
    """Return whether a line holds the event."""
    return _EVENT_NAME in text and _EVENT.search(clean(text)) is not None


def other_kind(text: str) -> str | None:
    """Return the name of another event or message of QEMU, None if it is none."""
    if _FAILED.search(text):
        return "QEMU failure message"
    other = _OTHER_EVENT.match(text)
    if other is None or other[1] == _EVENT_NAME:  # an update without values
        return None
    return other[1][:80]


@attrs.frozen(slots=True)
class _Event:
    """An event whose pairs may go on in the next line."""

    line: int
    text: str
    thread: str
    pairs: str


@attrs.define(slots=True)
class QemuTraceParser:
    """Takes the lines one by one and enters what they are into a tally."""

    tally: Tally
    _mail: MailDecoder = attrs.field(init=False)
    _event: _Event | None = attrs.field(default=None, init=False)
    # Other events that were met: their lines need no look at the rest.
    _names: set[str] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        """Undo mail encodings wherever the event may be."""
        self._mail = MailDecoder(_EVENT_NAME)

    def line(self, number: int, text: str) -> None:
        """Take one line."""
        if self._event is None and self._is_known(text):
            return
        inside = self._event is not None and "ret=" not in self._event.pairs
        decoded = self._mail.decode(number, text, inside=inside)
        if decoded is not None:
            self._clean_line(*decoded)

    def last(self, number: int, text: str) -> None:
        """Take the last line, which no newline ends."""
        if recognises(text) or self._mail.holding or self._continues(clean(text)):
            self.line(number, text)
        elif text.strip():
            self._take("incomplete")
            self.tally.add_unknown(number, text, CUT_OFF)

    def finish(self) -> None:
        """Enter what still waits for its end."""
        held = self._mail.release()
        if held is not None:
            self._clean_line(*held)
        self._take(CUT_OFF)

    def _is_known(self, text: str) -> bool:
        """Count a line by its first or second word, if that is enough."""
        if self._mail.holding or _EVENT_NAME in text:
            return False
        first, _, rest = text.partition(" ")
        for word in (first.rpartition(":")[2], rest.partition(" ")[0]):
            if word in self._names:
                self.tally.others[word] += 1
                return True
        return False

    def _clean_line(self, number: int, text: str) -> None:
        found = _EVENT.search(text) if _EVENT_NAME in text else None
        if found is not None:
            self._take("incomplete")
            thread = _thread(text[: found.start()])
            self._event = _Event(number, text, thread, text[found.end() :])
        elif self._event is not None and self._continues(text):
            pairs = f"{self._event.pairs} {text}"
            self._event = attrs.evolve(self._event, pairs=pairs)
        else:
            self._take("incomplete")
            self._other(number, text)

    def _continues(self, text: str) -> bool:
        event = self._event
        if event is None or len(event.pairs) + len(text) > _LONGEST_EVENT:
            return False
        return _ONLY_PAIRS.fullmatch(text) is not None

    def _other(self, number: int, text: str) -> None:
        if not text or text.isspace():
            return
        kind = other_kind(text)
        if kind is None:
            self.tally.add_unknown(number, text, "no trace event")
        else:
            self.tally.add_other(kind)
            if kind in self.tally.others and len(self._names) < _MOST_NAMES:
                self._names.add(kind)

    def _take(self, why_if_half: str) -> None:
        """Enter the event that was waiting for more pairs, if there is one."""
        event, self._event = self._event, None
        if event is None:
            return
        pairs = _PAIR.findall(event.pairs)
        fields = {_KERNEL_NAMES.get(key, key): value for key, value in pairs}
        if "ret" not in fields:
            self.tally.add_unknown(event.line, event.text, why_if_half)
        elif len(fields) < len(pairs):
            self.tally.add_unknown(event.line, event.text, "two events in one line")
        else:
            self._enter(event, fields)

    def _enter(self, event: _Event, fields: dict[str, str]) -> None:
        line = event.line
        try:
            result = answer("ret", fields["ret"])
        except OutOfRange as error:
            raise self.tally.error(f"{error}; correct the line", line) from None
        except ValueError as error:
            self.tally.add_unknown(line, event.text, str(error))
            return
        region = self.tally.region(line, event.text, fields, result)
        if region is not None:
            self.tally.add(Update(line, line, event.thread, _NO_VM, region, result))


def _thread(prefix: str) -> str:
    match = _THREAD.search(prefix[-_PREFIX_WINDOW:])
    return "" if match is None else match[1] or match[2]
