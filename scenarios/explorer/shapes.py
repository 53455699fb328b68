"""How the content of a mutable object is read, and written back."""

from __future__ import annotations

import random
import types
from array import array
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

UNSET = type("Unset", (), {})()
"""Stands for an attribute that is not set."""


class Shape(NamedTuple):
    """One kind of mutable object.

    Attributes:
        name: The same in every process.
        read: Gives the content as a list of values.
        write: Makes such a list the content again.
        state: Takes from a content what the future depends on.
        only_attributes: Whether the content is what is in ``__dict__``.
    """

    name: str
    read: Callable[[Any], list[Any]]
    write: Callable[[Any, list[Any]], None]
    state: Callable[[list[Any]], list[Any]] = list
    only_attributes: bool = False


def _write_list(thing: list[Any], content: list[Any]) -> None:
    thing[:] = content


def _read_dict(thing: dict[Any, Any]) -> list[Any]:
    return [*thing, *thing.values()]


def _write_dict(thing: dict[Any, Any], content: list[Any]) -> None:
    half = len(content) // 2
    thing.clear()
    thing.update(zip(content[:half], content[half:], strict=True))


def _write_set(thing: set[Any], content: list[Any]) -> None:
    thing.clear()
    thing.update(content)


def _write_deque(thing: deque[Any], content: list[Any]) -> None:
    thing.clear()
    thing.extend(content)


def _read_cell(thing: types.CellType) -> list[Any]:
    try:
        return [thing.cell_contents]
    except ValueError:
        return []


def _write_cell(thing: types.CellType, content: list[Any]) -> None:
    if content:
        thing.cell_contents = content[0]
    else:
        del thing.cell_contents


def _write_array(thing: array[Any], content: list[Any]) -> None:
    thing[:] = array(thing.typecode, content)


def _read_random(thing: random.Random) -> list[Any]:
    return [thing.getstate()]


def _write_random(thing: random.Random, content: list[Any]) -> None:
    thing.setstate(content[0])


BUILT_IN: dict[type, Shape] = {
    list: Shape("list", list, _write_list),
    bytearray: Shape("bytearray", list, _write_list),
    array: Shape("array", list, _write_array),
    dict: Shape("dict", _read_dict, _write_dict),
    defaultdict: Shape("dict", _read_dict, _write_dict),
    OrderedDict: Shape("dict", _read_dict, _write_dict),
    set: Shape("set", list, _write_set),
    deque: Shape("deque", list, _write_deque),
    types.CellType: Shape("cell", _read_cell, _write_cell),
    random.Random: Shape("random", _read_random, _write_random),
}


class _Instances:
    """The instances of a class: slots, attributes, and what a built-in base holds."""

    def __init__(self, kind: type) -> None:
        self.slots = [
            member
            for base in kind.__mro__
            for member in vars(base).values()
            if isinstance(member, types.MemberDescriptorType)
        ]
        self.has_dict = kind.__dictoffset__ != 0
        self.base = next((BUILT_IN[b] for b in BUILT_IN if issubclass(kind, b)), None)
        self.hidden = frozenset(getattr(kind, "not_state", ()))

    def read(self, thing: Any) -> list[Any]:
        """Slots; names and values of attributes; the rest."""
        content: list[Any] = []
        for slot in self.slots:
            try:
                content.append(slot.__get__(thing))
            except AttributeError:
                content.append(UNSET)
        if self.has_dict:
            attributes = object.__getattribute__(thing, "__dict__")
            content += (len(attributes), *attributes, *attributes.values())
        if self.base is not None:
            content += self.base.read(thing)
        return content

    def write(self, thing: Any, content: list[Any]) -> None:
        """See `read`."""
        count = len(self.slots)
        for slot, value in zip(self.slots, content, strict=False):
            if value is not UNSET:
                slot.__set__(thing, value)
            else:
                with suppress(AttributeError):
                    slot.__delete__(thing)
        rest = content[count:]
        if self.has_dict:
            size = rest[0]
            saved = dict(zip(rest[1 : size + 1], rest[size + 1 :], strict=False))
            attributes = object.__getattribute__(thing, "__dict__")
            if list(attributes) != list(saved):
                attributes.clear()
            attributes.update(saved)
            rest = rest[2 * size + 1 :]
        if self.base is not None:
            self.base.write(thing, rest)

    def state(self, content: list[Any]) -> list[Any]:
        """The content without what its class says is ``not_state``."""
        told = [
            value
            for slot, value in zip(self.slots, content, strict=False)
            if slot.__name__ not in self.hidden
        ]
        rest = content[len(self.slots) :]
        if self.has_dict:
            size = rest[0]
            for name, value in zip(rest[1 : size + 1], rest[size + 1 :], strict=False):
                if name not in self.hidden:
                    told += (name, value)
            rest = rest[2 * size + 1 :]
        return told + rest


_shapes: dict[type, Shape] = {}


def shape_of(kind: type) -> Shape:
    """The shape of the instances of a class."""
    shape = _shapes.get(kind)
    if shape is None:
        shape = BUILT_IN.get(kind)
        if shape is None:
            instances = _Instances(kind)
            state = instances.state if instances.hidden else list
            name = name_of(kind)
            only_attributes = instances.has_dict and not (
                instances.slots or instances.base
            )
            shape = Shape(name, instances.read, instances.write, state, only_attributes)
        _shapes[kind] = shape
    return shape


def name_of(thing: Any) -> str:
    """What a class or a function is called, the same in every process."""
    return f"{thing.__module__}.{thing.__qualname__}"
