"""Values as plain values: the immutable by content, the rest by reference."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterable
from enum import Enum
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Any

from rcu.operation import Location, Operation
from rcu.reclaim import is_reclaimed
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Task
from rcu.trace import Record, Trace
from scenarios.explorer.frames import where
from scenarios.explorer.shapes import BUILT_IN, UNSET, name_of, shape_of

Encoded = Any
"""Plain values only: None, bool, int, float, str, bytes, and tuples of these."""

ATOMS = frozenset({int, str, bool, type(None), bytes, float})

FIXED = (
    type,
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.ModuleType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.CodeType,
    types.GenericAlias,
)
"""What no run changes."""

ITERATORS = frozenset(
    {
        type(iter(())),
        type(iter([])),
        type(iter(range(1))),
        type(iter({})),
        type(iter({}.values())),
        type(iter({}.items())),
        type(reversed([])),
        enumerate,
        zip,
        map,
        range,
    }
)

Encoder = Callable[[Any], Encoded]

_HEAP_TYPE = 1 << 9  # of a class that was made at run time


class CannotTellError(Exception):
    """A value whose state cannot be told: a search cannot know where it has been."""


class Values:
    """Encodes values.

    Args:
        refer: Encodes a mutable object that is not known.

    Attributes:
        teller: Index of the task whose values are encoded; it is told as itself.
        named: The others that were encoded: a bit for each, by index.
    """

    def __init__(self, refer: Encoder) -> None:
        self.teller = -1
        self.named = 0
        self._refer = refer
        self._known: dict[int, Encoded] = {}  # by id
        self._kept: list[Any] = []  # so that their ids stay theirs
        self._encoders: dict[type, Encoder] = {}

    def know(self, thing: Any, told: Encoded) -> None:
        """Tell this object like this from now on."""
        self._known[id(thing)] = told
        self._kept.append(thing)

    def encode(self, values: Iterable[Any]) -> list[Encoded]:
        """Values as plain values.

        Raises:
            CannotTellError: One of them cannot be told.
        """
        known = self._known
        return [
            value
            if type(value) in ATOMS
            else known.get(id(value)) or self._encode(value)
            for value in values
        ]

    def _encode(self, value: Any) -> Encoded:
        kind = type(value)
        encoder = self._encoders.get(kind)
        if encoder is None:
            encoder = self._encoders[kind] = self._encoder_of(kind, value)
        return encoder(value)

    def _one(self, value: Any) -> Encoded:
        return self.encode((value,))[0]

    def _encoder_of(self, kind: type, value: Any) -> Encoder:  # noqa: C901, PLR0911, PLR0912 - one table
        if kind is tuple:
            return lambda v: tuple(self.encode(v))
        if issubclass(kind, Task):
            return self._task
        if issubclass(kind, Location):
            return self._constant(lambda v: ("location", v.name))
        if issubclass(kind, Operation):
            return self._constant(lambda v: ("operation", str(v)))
        if issubclass(kind, Enum):
            return self._constant(lambda v: (name_of(type(v)), v.name))
        if issubclass(kind, Scheduler | Trace | type(UNSET)):
            return lambda _: kind.__name__
        if issubclass(kind, Record):
            return lambda _: "record"  # it is kept to be shown, not to be decided on
        if issubclass(kind, FIXED):
            return _fixed
        if kind is types.FunctionType:
            return lambda v: ("function", name_of(v), *self.encode(v.__closure__ or ()))
        if kind is types.MethodType:
            return lambda v: (
                "method",
                name_of(v.__func__),
                self._one(v.__self__),
            )
        if kind is types.CoroutineType:
            return lambda v: ("coroutine", *where(v, self.encode))
        if kind is functools.partial:
            return lambda v: (
                "partial",
                *self.encode((v.func, *v.args, *v.keywords, *v.keywords.values())),
            )
        if kind is frozenset:
            return lambda v: ("frozenset", *sorted(self.encode(v), key=repr))
        if kind is types.MappingProxyType:
            return lambda v: ("proxy", *self.encode((*v, *v.values())))
        if issubclass(kind, BaseException):
            return lambda v: ("error", name_of(kind), *self.encode((*v.args, vars(v))))
        if kind is types.TracebackType:
            return lambda _: "traceback"  # it is kept to be shown
        if kind in ITERATORS:
            return lambda v: ("iterator", *self.encode(v.__reduce__()[1:]))
        name = name_of(kind)
        for base in (tuple, int, str, bytes, float):
            if issubclass(kind, base):
                return (
                    (lambda v: (name, *self.encode(v)))
                    if base is tuple
                    else functools.partial(_as, name, base)
                )
        if is_reclaimed(value):
            return self._refer  # whoever refers to it tells the same as before
        if kind in BUILT_IN:
            return self._refer
        if kind.__flags__ & _HEAP_TYPE and not _is_native(kind):
            return self._value if _is_frozen(kind) else self._refer
        raise CannotTellError(f"a value of type {name}: {value!r:.80}")

    def _constant(self, tell: Encoder) -> Encoder:
        """Tell each of these values once."""

        def encoder(value: Any) -> Encoded:
            told = tell(value)
            self.know(value, told)
            return told

        return encoder

    def _task(self, task: Task) -> Encoded:
        if task.index == self.teller:
            return ("task",)
        self.named |= 1 << task.index
        return ("task", task.index)

    def _value(self, value: Any) -> Encoded:
        shape = shape_of(type(value))
        return (shape.name, *self.encode(shape.read(value)))


def _as(name: str, base: type, value: Any) -> Encoded:
    return name, base(value)


def _is_native(kind: type) -> bool:
    """Whether a class, or what it is made of, has a state that Python cannot see."""
    modules = {b.__module__ for b in kind.__mro__ if b not in (object, *BUILT_IN)}
    files = (getattr(sys.modules.get(name), "__file__", None) for name in modules)
    return not modules.isdisjoint(sys.builtin_module_names) or any(
        file is not None and file.endswith(tuple(EXTENSION_SUFFIXES)) for file in files
    )


def _is_frozen(kind: type) -> bool:
    """Whether instances are values: attrs gives such classes this method."""
    return kind.__setattr__.__name__ == "_frozen_setattrs"


def _fixed(value: Any) -> Encoded:
    owner = getattr(value, "__self__", None)
    if not isinstance(owner, types.ModuleType | type(None) | type):
        raise CannotTellError(f"a method of a built-in object: {value!r:.80}")
    return ("fixed", getattr(value, "__qualname__", getattr(value, "__name__", "")))
