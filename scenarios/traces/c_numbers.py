"""Numbers as C programs print them: decimal, hexadecimal, or named flag bits.

One rule: a text that is no number is a ``ValueError``, a number that its field
cannot hold is ``OutOfRange``. The first may be a damaged line, the second is a
value that a reader must be shown.
"""

from __future__ import annotations

import errno
import re

from scenarios.printable import printable

UINT16_BITS = 16
UINT32_BITS = 32
UINT64_BITS = 64
MAX_FD = (1 << 31) - 1
MAX_ERRNO = 4095

MEM_FLAGS = {
    "KVM_MEM_LOG_DIRTY_PAGES": 1 << 0,
    "KVM_MEM_READONLY": 1 << 1,
    "KVM_MEM_GUEST_MEMFD": 1 << 2,
    "KVM_MEM_PRIVATE": 1 << 2,  # what forks called it before it was merged
}

# Not int(text, 0): that also takes underscores, other scripts' digits, "0o7".
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|([0-9]+))")
_COMMENT = re.compile(r"/\*[^*]*\*/")
_MOST_DIGITS = 40  # far above 64 bits, far below what int() refuses to read


class OutOfRange(ValueError):  # noqa: N818 - reads as what it says
    """A number that its field cannot hold; the text shows value and bound."""


def integer(text: str) -> int:
    """Return the value of one C integer literal.

    >>> integer("4096"), integer("0x10"), integer("-22")
    (4096, 16, -22)

    Raises:
        ValueError: The text is not an integer.
        OutOfRange: The integer has more digits than any field can hold.
    """
    match = _INTEGER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{printable(text, 40)!r} is not a number")
    sign, hexadecimal, decimal = match.groups()
    digits = hexadecimal or decimal
    if len(digits.lstrip("0")) > _MOST_DIGITS:
        raise OutOfRange(f"{printable(text, 40)} is above every field's bound")
    value = int(digits, 16 if hexadecimal else 10)
    return -value if sign == "-" else value


def unsigned(name: str, text: str, bits: int) -> int:
    """Return an integer that an unsigned field of *bits* bits can hold."""
    return _within(name, text, integer(text), 0, (1 << bits) - 1)


def descriptor(name: str, text: str) -> int:
    """Return a file descriptor, -1 for what can be none, however it is written."""
    value = _within(name, text, integer(text), -1, (1 << UINT32_BITS) - 1)
    return value if value <= MAX_FD else -1


def answer(name: str, text: str) -> int:
    """Return what an ioctl gave back: 0 or a negative errno."""
    return _within(name, text, integer(text), -MAX_ERRNO, 0)


def flag_bits(name: str, text: str) -> int:
    """Return the bits of a flags field, whether named, numbered or both.

    A comment beside a number is what strace knows about it, no value.

    >>> flag_bits("flags", "KVM_MEM_LOG_DIRTY_PAGES|0x8")
    9
    >>> flag_bits("flags", "0x10 /* KVM_MEM_??? */")
    16
    """
    bits = 0
    for part in _COMMENT.sub("", text).split("|"):
        word = part.strip()
        value = MEM_FLAGS.get(word)
        bits |= unsigned(name, word, UINT32_BITS) if value is None else value
    return bits


def errno_number(name: str) -> int:
    """Return the number of an errno name such as ``EINVAL``.

    Raises:
        ValueError: This system has no errno of that name.
    """
    number = getattr(errno, name, None) if name.startswith("E") else None
    if not isinstance(number, int):
        raise ValueError(f"{printable(name, 40)} is no errno of this system")  # noqa: TRY004 - the name is wrong, not its type
    return number


def _within(name: str, text: str, value: int, low: int, high: int) -> int:
    if low <= value <= high:
        return value
    shown = f"{name}={printable(text.strip(), 40)}"
    if value < low:
        raise OutOfRange(f"{shown} is below {low}")
    raise OutOfRange(f"{shown} is above {high:#x}, the most that the field holds")
