"""The grammar of one strace line: who, which call, which struct, which answer.

The beginning of a line may hold a thread id and times in any combination, so the
grammar takes any run of such words. Everything here is a pure function of text.

strace: print_kvm_ioctl, src/kvm.c
"""

from __future__ import annotations

import re
from functools import lru_cache

from scenarios.printable import printable
from scenarios.traces.c_numbers import errno_number, integer
from scenarios.traces.mail import clean

SET_REGION = "KVM_SET_USER_MEMORY_REGION"
SET_REGION2 = "KVM_SET_USER_MEMORY_REGION2"
CREATE_VM = "KVM_CREATE_VM"
CREATE_VCPU = "KVM_CREATE_VCPU"
CREATE_GUEST_MEMFD = "KVM_CREATE_GUEST_MEMFD"
CHECK_EXTENSION = "KVM_CHECK_EXTENSION"

# The type byte 0xae and the number of a request. Direction and size, above
# them, differ between architectures.
_REQUESTS = {
    0xAE01: CREATE_VM,
    0xAE03: CHECK_EXTENSION,
    0xAE41: CREATE_VCPU,
    0xAE42: "KVM_GET_DIRTY_LOG",
    0xAE46: SET_REGION,
    0xAE49: SET_REGION2,
    0xAE80: "KVM_RUN",
    0xAEC0: "KVM_CLEAR_DIRTY_LOG",
    0xAED4: CREATE_GUEST_MEMFD,
}
_IOC = re.compile(r"_IOC\([^,]*, *(\w+), *(\w+), *\w+\)")

# One word before the call: [pid N], a time, a bare number, (+ delay), comment.
_WORD = r"(?:\[[^\]]*\]|[\d:.]+(?:<[^>]*>)?|\(\+ *[\d.]+\)|/\*[^*]*\*/)\s+"
_FD = r"(?:fd=)?(?P<fd>-?\w+)(?:<.*?>)?"
_REQUEST = r"(?:\w+=)?(?P<request>_IOC\([^)]*\)|\w+)(?: /\* (?P<comment>[^*]*) \*/)?"
HEAD = re.compile(
    rf"\s*(?P<before>(?:{_WORD})*+)"
    rf"(?:ioctl\({_FD}, *{_REQUEST}(?=\W)"
    r"|(?P<call>\w+)\("
    r"|<\.\.\. (?P<resumed>\w+) resumed>"
    r"|(?P<note>\+\+\+ (?=exited|killed|superseded)|--- (?=SIG|stopped|\{)"
    r"|strace: |> (?=\S+\())"
    r")"
)
_NOTES = {"+++ ": "exit", "--- ": "signal", "strace: ": "strace message"}
_TID = re.compile(r"\[pid +(\d+)|(\d{1,7})(?=[\s<])")
_HALF = re.compile(r"<(?:unfinished|detached) \.\.\.>\s*$")
_RESULT = re.compile(
    r"\)\s*=\s+(?:(?P<none>\?)|-1\s+(?P<name>E[A-Z0-9]+)\b"
    r"|-1\s+\(errno (?P<number>\d{1,9})\)|(?P<value>(?!-1\b)-?\w+))"
)
_INJECTED = "(INJECTED)"
_WHOLE = re.compile(
    r"\)\s*= +(?:\?|-1 (?:E\w+ \(.*\)|\(errno \d+\))|(?!-1\b)-?\w)"
    r"|<(?:unfinished|detached) \.\.\.>\s*$|\+\+\+\s*$|---\s*$"
)
_STRUCT = re.compile(r"\{(.*?)\}")
_FIELD = re.compile(r"(\w+)=([^,<]*)")
_NR_MEMSLOTS = re.compile(r",\s*(?:\w+=)?(?:KVM_CAP_NR_MEMSLOTS\b|(?:0xa|10)\b)")


def request_of(head: re.Match[str]) -> str:
    """Return the name of the request, however the line writes it."""
    return request_name(head["comment"] or head["request"])


@lru_cache(maxsize=1024)
def request_name(text: str) -> str:
    """Return a request's name; the text itself if it has none here.

    >>> request_name("0x4020ae46")
    'KVM_SET_USER_MEMORY_REGION'
    >>> request_name("_IOC(_IOC_WRITE, 0xae, 0x49, 0xa0)")
    'KVM_SET_USER_MEMORY_REGION2'
    """
    encoded = _IOC.fullmatch(text)
    try:
        if encoded is not None:
            low = integer(encoded[1]) << 8 | integer(encoded[2])
        else:
            low = integer(text) & 0xFFFF
    except ValueError:
        return printable(text, 80)
    return _REQUESTS.get(low, printable(text, 80))


def recognises(text: str) -> bool:
    """Return whether a line can be nothing but strace's.

    C code in a mail also calls ioctl, but shows neither struct nor answer.
    """
    text = clean(text)
    head = HEAD.match(text)
    if head is None or head["note"] is not None:
        return False
    if head["resumed"] is not None or is_whole(text):
        return True
    return head["request"] is not None and "{" in text


def kind_of(head: re.Match[str]) -> str | None:
    """Return what a line that is no ioctl is, None for a resumed call."""
    if head["resumed"] is not None:
        return None
    if head["note"] is not None:
        return _NOTES.get(head["note"], "stack frame")
    return printable(head["call"], 80)


def thread_of(head: re.Match[str]) -> str:
    """Return the thread id before the call, empty if there is none.

    A number of more than seven digits is a time: no kernel counts so far.
    """
    match = _TID.match(head["before"])
    return "" if match is None else match[1] or match[2]


def without_half_mark(text: str) -> str | None:
    """Return the first half of an interrupted call, None if it is whole."""
    if "ed ...>" not in text:  # much faster, and true of almost every line
        return None
    match = _HALF.search(text)
    return None if match is None else text[: match.start()].rstrip()


def is_whole(text: str) -> bool:
    """Return whether a line that no newline ends was written to its end."""
    return _WHOLE.search(text) is not None


def has_result(text: str) -> bool:
    """Return whether the line shows an answer, be it ``?``."""
    return _RESULT.search(text) is not None


def result_of(text: str) -> int | None:
    """Return the answer of a call: a value, a negative errno, None for ``?``.

    Raises:
        ValueError: No answer that the kernel gave.
    """
    match = _RESULT.search(text)
    if match is None:
        raise ValueError("incomplete")
    if _INJECTED in text:
        raise ValueError("answered by strace, the kernel never saw it")
    if match["none"]:
        return None
    if match["name"]:
        return -errno_number(match["name"])
    return -int(match["number"]) if match["number"] else integer(match["value"])


def struct_fields(text: str) -> dict[str, str] | None:
    """Return the fields of the struct that a call shows, None if it shows none."""
    struct = _STRUCT.search(text)
    return None if struct is None else dict(_FIELD.findall(struct[1]))


def asks_slot_limit(text: str, head: re.Match[str]) -> bool:
    """Return whether a KVM_CHECK_EXTENSION asks for the number of slots."""
    return _NR_MEMSLOTS.match(text, head.end()) is not None
