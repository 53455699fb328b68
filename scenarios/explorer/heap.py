"""The objects that a run can change: put back as they were, or told as plain values.

A search begins the same run over and over, and asks of each state whether it has been
there. Both need every mutable object that the tasks can reach. They are found once, by
walking from the tasks' bodies. What is told of a state is what differs from the
beginning, and the objects that the run has made and still refers to, numbered in the
order in which they are met: no identity enters it.

An object whose content is the same as when it was last told is not told anew.
"""

from __future__ import annotations

import gc
import marshal
import random
from array import array
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import is_, itemgetter
from typing import Any

from rcu.reclaim import is_reclaimed
from scenarios.explorer.shapes import UNSET, Shape, shape_of
from scenarios.explorer.values import Encoded, Values


class Told:
    """What has been told of a content: bytes, and the objects it refers to.

    Attributes:
        text: Plain values; the objects that the run has made are holes in it.
        objects: Those that fill the holes.
        names: Which tasks it mentions: a bit for each, by index.
    """

    __slots__ = ("names", "objects", "text")

    def __init__(self, text: bytes, objects: Sequence[HeapObject], names: int) -> None:
        self.text = text
        self.objects = objects
        self.names = names


class HeapObject:
    """A mutable object.

    Attributes:
        thing: The object.
        kind: Its class, before it is freed.
        holders: What refers to its content.
        dicts: Those of them that are dictionaries.
        is_opaque: Whether the garbage collector does not see its content, or not where
            each part of it is.
        was_freed: Whether it was freed when it was first met.
        observes: Whether nobody but who watches the run can reach it.
        shape: How it is read and written.
        place: Its number; unset if the run has made it.
        first, refers_first, told_first: Its content at the beginning of a run, to which
            objects that refers, and the content told.
        last, told_last: To what it referred when it was last told, and that told.
        attributes: Where its content is, if it has nothing but attributes.
        names: Their names in ``first``.
    """

    __slots__ = (
        "attributes",
        "dicts",
        "first",
        "holders",
        "is_opaque",
        "kind",
        "last",
        "names",
        "observes",
        "place",
        "refers_first",
        "shape",
        "thing",
        "told_first",
        "told_last",
        "was_freed",
    )

    refers_first: list[Any]
    told_first: Told
    told_last: Told

    def __init__(self, thing: Any) -> None:
        self.thing = thing
        self.kind = type(thing)
        self.shape: Shape = shape_of(self.kind)
        self.place = -1
        self.observes = False
        self.was_freed = is_reclaimed(thing)
        self.first: list[Any] = []
        self.last: list[Any] | None = None
        self.names: tuple[str, ...] = ()
        self.attributes: dict[str, Any] | None = None
        self.holders: list[Any] = [thing]
        self.dicts: list[dict[Any, Any]] = (
            [thing] if issubclass(self.kind, dict) else []
        )
        if self.kind.__dictoffset__:
            # The dictionary of its attributes, or it would be all that is seen.
            attributes = object.__getattribute__(thing, "__dict__")
            self.holders.append(attributes)
            self.dicts.append(attributes)
            if self.shape.only_attributes:
                self.attributes = attributes
        self.is_opaque = issubclass(self.kind, OPAQUE) or any(
            value is UNSET for value in self.shape.read(thing)
        )

    def refers_to(self) -> list[Any]:
        """The objects that its content refers to; the same ones if it is the same."""
        if self.is_opaque:
            return self.shape.read(self.thing)
        content = gc.get_referents(*self.holders)
        content += chain.from_iterable(self.dicts)  # keys that are strings are hidden
        return content

    def is_changed(self) -> bool:
        """Whether its content has changed since that was last asked."""
        now, last = self.refers_to(), self.last
        if last is not None and len(now) == len(last) and all(map(is_, now, last)):
            return False
        self.last = now
        return True


_place = itemgetter(0)


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(map(is_, one, other))


class Group:
    """Objects of which one learns at once that none of them has changed.

    Args:
        objects: As they are at the beginning of a run, or changed already.
        changed: Whether they are.

    Attributes:
        first: What they refer to at the beginning; None until that is known.
        last: What they referred to when that was last asked.
        changes: What was told of those that differ, if somebody keeps it here.
    """

    SIZE = 6

    def __init__(self, objects: list[HeapObject], *, changed: bool = False) -> None:
        self.objects = objects
        self._holders: list[Any] = []
        self._dicts: list[dict[Any, Any]] = []
        self._opaque = [each for each in objects if each.is_opaque]
        for each in objects:
            self._holders += each.holders
            self._dicts += each.dicts
        self.first = None if changed else self._refer_to()
        self.last = self.first
        self.changes: list[tuple[int, Told]] = []

    def _refer_to(self) -> list[Any]:
        content = gc.get_referents(*self._holders)
        content += chain.from_iterable(self._dicts)
        for each in self._opaque:
            content += each.shape.read(each.thing)
        return content

    def is_changed(self) -> bool:
        """Whether any of them has changed since that was last asked."""
        now = self._refer_to()
        if self.last is not None and _same(now, self.last):
            return False
        self.last = now
        return True

    def is_restored(self) -> None:
        """They are as at the beginning."""
        if self.first is None:
            self.first = self._refer_to()
        self.last = self.first
        self.changes = []


class Heap:
    """The mutable objects reachable from the tasks.

    Args:
        roots: Where to begin: bodies of tasks. No task has begun.
        observers: Those who watch the run. What only they can reach decides nothing but
            what they say: the order of their dictionaries is no state.

    Raises:
        CannotTellError: Something reachable cannot be told.
    """

    def __init__(
        self, roots: Iterable[object], observers: Iterable[object] = ()
    ) -> None:
        self._values = Values(self._refer)
        self._made: dict[int, HeapObject] = {}
        self._objects: list[HeapObject] = []
        self._groups: list[Group] = []  # of those that were ever changed
        self._met: list[HeapObject] = []
        self._observing = False
        self._values.encode(roots)
        self._objects = self._find()
        known = {id(each.thing) for each in self._objects}
        self._observing = True
        self._values.encode(observers)
        self._objects += [e for e in self._find() if id(e.thing) not in known]
        self._observing = False
        for place, each in enumerate(self._objects):
            self._values.know(each.thing, ("@", place))
        self._made.clear()
        for place, each in enumerate(self._objects):
            each.place = place
            each.first = self._read(each)
            each.names = tuple(each.attributes or ())
            each.told_first = each.told_last = self._tell(each)
            each.refers_first = each.last = each.refers_to()
        self._unchanged = Group(self._objects)

    @staticmethod
    def _read(each: HeapObject) -> list[Any]:
        if each.attributes is not None:
            return [*each.attributes.values()]
        return each.shape.read(each.thing)

    def _find(self) -> list[HeapObject]:
        """All objects that can be reached from those met so far."""
        found: dict[int, HeapObject] = {}
        while self._met:
            met, self._met = self._met, []
            for each in met:
                if id(each.thing) not in found:
                    found[id(each.thing)] = each
                    self._values.encode(each.shape.read(each.thing))
        return [*found.values()]

    @property
    def names_at_first(self) -> int:
        """Which tasks are mentioned at the beginning: a bit for each, by index."""
        names = 0
        for each in self._objects:
            names |= each.told_first.names
        return names

    def __len__(self) -> int:
        return len(self._objects)

    def restore(self, *, told: bool = False) -> None:
        """Give every object the content that it had at first.

        Args:
            told: Whether the state in which the run ended was told: what the run has
                changed is known then, and nothing else is looked at.
        """
        if not told:
            self._find_changed()
        for group in self._groups:
            if not told or group.first is None or group.last is not group.first:
                for each in group.objects:
                    self._restore(each)
                group.is_restored()
        self._made.clear()

    def _restore(self, each: HeapObject) -> None:
        if type(each.thing) is not each.kind:
            object.__setattr__(each.thing, "__class__", each.kind)
        if not _same(self._read(each), each.first):
            self._write(each)
        each.last = each.refers_first
        each.told_last = each.told_first

    def _find_changed(self) -> None:
        """Find the objects that were never changed before, and are now."""
        unchanged = self._unchanged
        if not unchanged.is_changed():
            return
        found = [
            each
            for each in unchanged.objects
            if type(each.thing) is not each.kind
            or not _same(self._read(each), each.first)
        ]
        self._unchanged = Group([e for e in unchanged.objects if e not in found])
        self._groups += [
            Group(found[place : place + Group.SIZE], changed=True)
            for place in range(0, len(found), Group.SIZE)
        ]

    def tell_changes(self) -> list[tuple[int, Told]]:
        """The objects that differ from what they were at first, by number."""
        self._find_changed()
        changes: list[tuple[int, Told]] = []
        for group in self._groups:
            if group.is_changed():
                told = [(each, self.tell_object(each)) for each in group.objects]
                group.changes = [
                    (each.place, now)
                    for each, now in told
                    if now is not each.told_first
                ]
            changes += group.changes
        changes.sort(key=_place)
        return changes

    def tell_object(self, each: HeapObject) -> Told:
        """What is in an object."""
        if type(each.thing) is not each.kind or each.was_freed:
            return FREED
        if not each.is_changed():
            return each.told_last
        told = self._tell(each)
        if each.place >= 0 and told.text == each.told_first.text and not told.objects:
            told = each.told_first
        each.told_last = told
        return told

    def tell(
        self, teller: int, values: Callable[[Callable[..., list[Encoded]]], Encoded]
    ) -> Told:
        """Tell what a task encodes, given by its index."""
        self._met = []
        self._values.named = 0
        self._values.teller = teller
        text = marshal.dumps(values(self._values.encode), 0)
        self._values.teller = -1
        return Told(text, self._met, self._values.named)

    def _tell(self, each: HeapObject) -> Told:
        shape = each.shape
        self._met = []
        self._values.named = 0
        content = shape.state(shape.read(each.thing))
        self._observing = each.observes
        if each.observes and type(each.thing) in DICTS:
            content = _by_key(each.thing)
        told = self._values.encode(content)
        self._observing = False
        if shape.name == "set":
            told.sort(key=repr)
        text = marshal.dumps((shape.name, *told), 0)
        return Told(text, self._met, self._values.named)

    @staticmethod
    def _write(each: HeapObject) -> None:
        if each.attributes is None:
            each.shape.write(each.thing, each.first)
            return
        if tuple(each.attributes) != each.names:
            each.attributes.clear()
        each.attributes.update(zip(each.names, each.first, strict=True))

    def _refer(self, thing: Any) -> Encoded:
        """Meet an object that the run has made."""
        each = self._made.get(id(thing))
        if each is None:
            each = self._made[id(thing)] = HeapObject(thing)
            each.observes = self._observing
        self._met.append(each)
        return HOLE


OPAQUE = (bytearray, array, random.Random)
"""Their content is no object that the garbage collector sees."""

DICTS = frozenset({dict, defaultdict, OrderedDict, Counter})


def _by_key(thing: dict[Any, Any]) -> list[Any]:
    """Keys, then values, in the order of the keys."""
    items = sorted(thing.items(), key=lambda item: repr(item[0]))
    return [*(key for key, _ in items), *(value for _, value in items)]


HOLE = "+"
FREED = Told(b"freed", (), 0)
