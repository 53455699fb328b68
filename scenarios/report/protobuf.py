"""Writes protocol buffer messages: as much of the wire format as a trace needs."""

from __future__ import annotations

from collections.abc import Mapping

VARINT, FIXED64, BYTES = 0, 1, 2


class Fixed64(int):
    """An integer that always takes eight bytes."""


class Message(dict[int, object]):
    """Fields by number: integers, text, messages, and lists of them."""

    def encode(self) -> bytes:
        """Its bytes."""
        return encode(self)


def encode(fields: Mapping[int, object]) -> bytes:
    """The bytes of a message; fields that are None are left out."""
    out = bytearray()
    for number, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                _put(out, number, each)
    return bytes(out)


def varint(value: int) -> bytes:
    """An integer of up to 64 bits; a negative one as its two's complement.

    >>> varint(300).hex()
    'ac02'
    """
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _put(out: bytearray, number: int, value: object) -> None:
    if isinstance(value, Fixed64):
        out += varint(number << 3 | FIXED64)
        out += (value & (1 << 64) - 1).to_bytes(8, "little")
    elif isinstance(value, int):
        out += varint(number << 3 | VARINT)
        out += varint(value)
    else:
        if isinstance(value, Message):
            data = encode(value)
        elif isinstance(value, str):
            data = value.encode(errors="replace")
        elif isinstance(value, bytes):
            data = value
        else:
            raise TypeError(f"no field of a message: {value!r}")
        out += varint(number << 3 | BYTES)
        out += varint(len(data))
        out += data
