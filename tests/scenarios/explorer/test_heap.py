"""A run's objects are put back as they were; a state is told by all it depends on."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import attrs
import pytest

from rcu.operation import Location
from rcu.reclaim import Reclaimable, is_reclaimed, reclaim
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.stepwise import StepwiseScheduler
from rcu.schedule.task import Body
from scenarios.explorer.heap import Heap
from scenarios.explorer.values import CannotTellError
from tests.scenarios.explorer.searching import Bodies, begun, fingerprint, search


class Slotted:
    __slots__ = ("one", "other")

    def __init__(self) -> None:
        self.one = 1


class Counts(dict[str, int]):
    """A dict with an attribute."""

    def __init__(self) -> None:
        super().__init__(a=1)
        self.total = 1


class Node(Reclaimable):
    def __init__(self, value: int) -> None:
        self.value = value


class Everything:
    """One of each kind of object that can be changed."""

    def __init__(self) -> None:
        self.number = 1
        self.list = [1, 2]
        self.dict = {"a": 1, "b": 2}
        self.ordered = OrderedDict(a=1, b=2)
        self.default = defaultdict(int, a=1)
        self.set = {1, 2}
        self.deque = deque([1, 2])
        self.bytes = bytearray(b"ab")
        self.slotted = Slotted()
        self.counts = Counts()
        self.node = Node(1)
        self.random = Random(0)  # noqa: S311 - chance of a program is repeatable
        self.nested = [{"inner": [1]}]
        self.loop: list[Any] = []
        self.loop.append(self.loop)

    def changed_node(self) -> Node:
        self.node.value = 2
        return self.node

    def told(self) -> str:
        node = None if is_reclaimed(self.node) else vars(self.node)
        slots = [getattr(self.slotted, name, None) for name in Slotted.__slots__]
        state = self.random.getstate()
        return f"{vars(self)} {slots} {vars(self.counts)} {node} {state}"


CHANGES: dict[str, Callable[[Everything, Scheduler], object]] = {
    "attribute": lambda e, _: setattr(e, "number", 2),
    "key renamed": lambda e, _: e.default.update(b=e.default.pop("a")),
    "new attribute": lambda e, _: setattr(e, "new", 2),
    "no attribute": lambda e, _: delattr(e, "number"),
    "list": lambda e, _: e.list.pop(),
    "list in place": lambda e, _: e.list.__setitem__(0, 9),
    "dict": lambda e, _: e.dict.update(c=3),
    "order of a dict": lambda e, _: e.dict.update(a=e.dict.pop("a")),
    "ordered dict": lambda e, _: e.ordered.move_to_end("a"),
    "default dict": lambda e, _: e.default["b"],
    "set": lambda e, _: e.set.remove(1),
    "deque": lambda e, _: e.deque.rotate(),
    "bytearray": lambda e, _: e.bytes.extend(b"c"),
    "slot": lambda e, _: setattr(e.slotted, "one", 2),
    "new slot": lambda e, _: setattr(e.slotted, "other", 2),
    "no slot": lambda e, _: delattr(e.slotted, "one"),
    "dict with an attribute": lambda e, _: e.counts.update(b=2),
    "attribute of a dict": lambda e, _: setattr(e.counts, "total", 2),
    "object freed": lambda e, s: reclaim(s, e.node, "node"),
    "object changed and freed": lambda e, s: reclaim(s, e.changed_node(), "node"),
    "random": lambda e, _: e.random.random(),
    "nested": lambda e, _: e.nested[0]["inner"].append(2),
    "loop": lambda e, _: e.loop.append(1),
    "object replaced": lambda e, _: setattr(e, "list", [1, 3]),
}


class OneChange:
    """Changes something in its only step."""

    def __init__(
        self, scheduler: Scheduler, change: Callable[[Everything, Scheduler], object]
    ) -> None:
        self.everything = Everything()
        self.scheduler = scheduler
        self.change = change
        self.write = Location("everything").write

    async def act(self) -> None:
        await self.scheduler.point(self.write)
        self.change(self.everything, self.scheduler)
        await self.scheduler.point(self.write)


@pytest.mark.parametrize("what", CHANGES)
async def test_change_is_seen_and_undone(what: str) -> None:
    made: list[OneChange] = []

    def make(scheduler: Scheduler) -> list[Body]:
        made.append(OneChange(scheduler, CHANGES[what]))
        return [made[-1].act]

    async with begun(Bodies(make)) as instance:
        everything = made[-1].everything
        before = everything.told()
        for _ in range(2):
            assert not instance.heap.tell_changes()
            instance.scheduler.step(instance.scheduler.tasks[0])
            assert instance.look() is None
            assert everything.told() != before
            assert instance.heap.tell_changes()
            instance.begin()
            assert everything.told() == before


async def test_cell_that_a_body_rebinds_is_put_back() -> None:
    counted: list[int] = []

    def make(scheduler: Scheduler) -> list[Body]:
        count = 0
        write = Location("count").write

        async def body() -> None:
            nonlocal count
            await scheduler.point(write)
            count += 1
            counted.append(count)

        return [body]

    done = await search(Bodies(lambda s: make(s) * 2), symmetric=False)
    assert len(done.states) == 4
    assert sorted(set(counted)) == [1, 2]


async def test_freed_object_lives_again_and_is_freed_again() -> None:
    class Use:
        def __init__(self, scheduler: Scheduler) -> None:
            self.node = Node(1)
            self.scheduler = scheduler
            self.at = Location("node")

        async def free(self) -> None:
            await self.scheduler.point(self.at.write)
            reclaim(self.scheduler, self.node, "node")

        async def look(self) -> None:
            await self.scheduler.point(self.at.read)
            assert self.node.value == 1

    def make(scheduler: Scheduler) -> list[Body]:
        use = Use(scheduler)
        return [use.free, use.look]

    done = await search(Bodies(make))
    assert [(finding.seen, order) for finding, order in done.found] == [
        ("UseAfterFree: value of node (freed by task0 in step 1) was read", (0, 1))
    ]
    assert done.graph.interleavings() == 2


class Spoils:
    """Changes something in the step that fails."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.write = Location("number").write
        self.number = 0

    async def fail(self) -> None:
        await self.point(self.write)
        assert not self.number, "left over"
        self.number = 1
        raise AssertionError("spoilt")

    async def look(self) -> None:
        await self.point(self.write)
        assert not self.number, "left over"


def spoils(scheduler: Scheduler) -> Sequence[Body]:
    shared = Spoils(scheduler)
    return [shared.look, shared.fail]


async def test_change_of_a_step_that_failed_is_undone() -> None:
    done = await search(Bodies(spoils))
    assert {finding.seen for finding, _ in done.found} == {"spoilt"}


class NotTold:
    """Holds what has no shape."""

    def __init__(self, thing: object) -> None:
        self.thing = thing

    async def act(self) -> None: ...


def generator() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("thing", "word"),
    [
        (itertools.count(), "itertools.count"),
        (generator(), "generator"),
        (iter({1}), "set_iterator"),
        (memoryview(b""), "memoryview"),
        (threading.Lock(), "lock"),
        ([].append, "append"),
        (b"".join, "join"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_told_is_named(thing: object, word: str) -> None:
    with pytest.raises(CannotTellError, match=word):
        Heap([NotTold(thing).act])


async def test_what_cannot_be_told_is_named_when_a_run_makes_it() -> None:
    def make(scheduler: Scheduler) -> list[Body]:
        op = Location("x").write

        async def body() -> None:
            await scheduler.point(op)
            values = generator()
            await scheduler.point(op)
            next(values)

        return [body]

    with pytest.raises(CannotTellError, match="generator"):
        await search(Bodies(make))


class Section:
    """Something to be inside of."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


class Places:
    """Bodies that differ by what is on the evaluation stack only."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.which = 0
        self.write = Location("which").write
        self.sections = [Section("one"), Section("other")]
        self.words = [("a", "a", "a"), ("a", "a")]

    async def toggle(self) -> None:
        for which in (1, 0):
            await self.point(self.write)
            self.which = which

    async def enter(self) -> None:
        await self.point(self.write)
        async with self.sections[self.which]:
            await self.point(self.write)

    async def loop(self) -> None:
        await self.point(self.write)
        for _ in self.words[self.which]:
            await self.point(self.write)


@pytest.mark.parametrize("body", [Places.enter, Places.loop])
async def test_value_on_the_evaluation_stack_tells_states_apart(
    body: Callable[[Places], Awaitable[None]],
) -> None:
    program = places(body)
    early = await fingerprint(program, (1, 0, 0))
    between = await fingerprint(program, (0, 1, 0))
    late = await fingerprint(program, (0, 0, 1))
    assert early == late != between


async def test_each_place_in_a_loop_is_a_state() -> None:
    program = places(Places.loop)
    prints = [await fingerprint(program, (0, 0, *[1] * steps)) for steps in range(5)]
    assert len(set(prints)) == 5


def places(body: Callable[[Places], Awaitable[None]]) -> Bodies:
    def make(scheduler: Scheduler) -> list[Body]:
        shared = Places(scheduler)
        return [shared.toggle, body.__get__(shared)]

    return Bodies(make)


class Makers:
    """Two tasks that make objects, and one that exchanges them."""

    not_state: ClassVar[tuple[str, ...]] = ("made",)

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.write = Location("things").write
        self.things: list[Node | None] = [None, None]
        self.names = {"first"}
        self.made = 0

    async def make_first(self) -> None:
        await self.point(self.write)
        self.made += 1
        self.things[0] = Node(self.made * 0)
        self.names.add("a")

    async def make_second(self) -> None:
        await self.point(self.write)
        self.made += 2
        self.things[1] = Node(0)
        self.names.add("b")

    async def share(self) -> None:
        await self.point(self.write)
        self.things[1] = self.things[0]


def makers(scheduler: Scheduler) -> Sequence[Body]:
    shared = Makers(scheduler)
    return [shared.make_first, shared.make_second, shared.share]


async def test_objects_are_told_by_content_and_place_not_by_identity() -> None:
    program = Bodies(makers)
    one_first = await fingerprint(program, (0, 1))
    assert one_first == await fingerprint(program, (1, 0))
    assert one_first != await fingerprint(program, (0,))
    apart = await fingerprint(program, (0, 2, 1))
    assert apart == await fingerprint(program, (2, 1, 0))
    assert apart != await fingerprint(
        program, (0, 1, 2)
    )  # two equal ones, or one twice


async def test_what_is_said_to_be_no_state_is_put_back_all_the_same() -> None:
    shared: list[Makers] = []

    def make(scheduler: Scheduler) -> Sequence[Body]:
        shared.append(Makers(scheduler))
        return [shared[-1].make_second]

    async with begun(Bodies(make)) as instance:
        instance.scheduler.follow([0])
        assert shared[-1].made == 2
        instance.begin()
        assert shared[-1].made == 0


@attrs.frozen
class Value:
    name: str
    flags: frozenset[str]


SCRIPT = """
import hashlib, trio
from tests.scenarios.explorer import searching, test_heap
from scenarios.explorer.delete_under_srcu import DeleteUnderSrcu

for program in (DeleteUnderSrcu(1), searching.Bodies(test_heap.makers),
                searching.Bodies(test_heap.hashed)):
    done = trio.run(searching.search, program)
    print(hashlib.sha256(b"".join(done.states)).hexdigest())
"""


class Hashed:
    """Keeps what is ordered by its hash."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.write = Location("names").write
        self.names = {"one", "other", "third"}
        self.flags = frozenset({"x", "y", "z"})
        self.values = {Value("v", frozenset({"p", "q", "r"}))}

    async def add(self) -> None:
        for name in ("fourth", "fifth"):
            await self.point(self.write)
            self.names.add(name)
            self.values.add(Value(name, self.flags))


def hashed(scheduler: Scheduler) -> Sequence[Body]:
    shared = Hashed(scheduler)
    return [shared.add, shared.add]


@pytest.mark.slow
def test_fingerprints_are_the_same_in_every_process() -> None:
    def fingerprints(seed: str) -> str:
        return subprocess.run(  # noqa: S603 - our own
            [sys.executable, "-c", SCRIPT],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    told = fingerprints("0")
    assert len(set(told.split())) == 3
    assert fingerprints("1") == told


async def test_who_watches_may_remember_in_any_order() -> None:
    class Watcher:
        def __init__(self) -> None:
            self.seen: dict[str, int] = {}

    def told(first: str, second: str, *, watches: bool) -> list[bytes]:
        watcher = Watcher()
        heap = Heap([], [watcher]) if watches else Heap([watcher])
        watcher.seen[first] = watcher.seen[second] = 1
        return [told.text for _, told in heap.tell_changes()]

    assert told("a", "b", watches=True) == told("b", "a", watches=True)
    assert told("a", "b", watches=False) != told("b", "a", watches=False)


async def test_who_refers_to_a_freed_object_tells_the_same_as_before() -> None:
    class Holder:
        def __init__(self) -> None:
            self.node: Node | None = None

    scheduler = StepwiseScheduler(cpus=1)
    holder = Holder()
    heap = Heap([holder])
    holder.node = Node(1)
    ((_, before),) = heap.tell_changes()
    assert heap.tell_object(before.objects[0]).text != b"freed"
    reclaim(scheduler, holder.node, "node")
    ((_, after),) = heap.tell_changes()
    assert after.text == before.text
    assert heap.tell_object(after.objects[0]).text == b"freed"
    heap.restore()
    reclaimed = Node(2)
    reclaim(scheduler, reclaimed, "node")
    holder.node = reclaimed
    ((_, met_later),) = heap.tell_changes()
    assert met_later.text == before.text
    assert heap.tell_object(met_later.objects[0]).text == b"freed"
