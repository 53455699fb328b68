"""Programs of a few steps as data; all there is to know of them, by brute force.

Brute force knows nothing of tasks, points and fingerprints: a state is a tuple of plain
values, a step makes another one, and every order is taken to its end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

from hypothesis import strategies as st

from rcu.locks import Mutex
from rcu.operation import Location, Operation
from rcu.rcuwait import Completion
from rcu.schedule.scheduler import Scheduler
from scenarios.explorer.program import Finding, Program, SchedulerT, Watch

VALUES = range(3)
"""Places of shared values; as many mutexes are not needed."""

MUTEXES = range(2)


class Action(NamedTuple):
    """What a task does in one step.

    ``read`` a value into the task's local; ``write`` a constant; ``store`` the local
    plus a constant; ``add`` a constant; ``copy`` to the place ``value``; ``check`` that
    the value is the local; ``forbid`` a constant; ``acquire`` and ``release`` a mutex;
    ``complete``, and wait ``until_done``; wait ``until_zero``; ``spin`` while zero.
    """

    verb: str
    place: int = 0
    value: int = 0


Tasks = Sequence[tuple[Action, ...]]
"""What each task does; neighbours that do the same are interchangeable."""


class SmallProgram(Program):
    """Runs tasks that are given as data."""

    name = "small"
    interchangeable = True

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks

    def build(self, make: Callable[..., SchedulerT]) -> tuple[SchedulerT, Watch]:
        scheduler = make(cpus=1)
        actor = Actor(scheduler)
        bodies = {actions: partial(actor.act, actions) for actions in self.tasks}
        for index, actions in enumerate(self.tasks):
            scheduler.task(f"task{index}", bodies[actions])
        return scheduler, Watch()


class Actor:
    """The shared objects, and the body of every task."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.values = [0 for _ in VALUES]
        self.places = [Location(f"value {place}") for place in VALUES]
        self.copies = [
            [Operation("copy", reads=[one], writes=[other]) for other in self.places]
            for one in self.places
        ]
        self.are_zero = [partial(self.is_zero, place) for place in VALUES]
        self.mutexes = [Mutex(scheduler, f"mutex {number}") for number in MUTEXES]
        self.completion = Completion(scheduler, "completion")

    def is_zero(self, place: int) -> bool:
        return not self.values[place]

    async def act(self, actions: tuple[Action, ...]) -> None:  # noqa: C901, PLR0912
        values, places, point = self.values, self.places, self.point
        local = 0
        for verb, place, value in actions:
            match verb:
                case "read":
                    await point(places[place].read)
                    local = values[place]
                case "write":
                    await point(places[place].write)
                    values[place] = value
                case "store":
                    await point(places[place].write)
                    values[place] = local + value
                case "add":
                    await point(places[place].write)
                    values[place] += value
                case "copy":
                    await point(self.copies[place][value])
                    values[value] = values[place]
                case "check":
                    await point(places[place].read)
                    assert values[place] == local, said(place, values[place])
                case "forbid":
                    await point(places[place].read)
                    assert values[place] != value, said(place, values[place])
                case "acquire":
                    await self.mutexes[place].acquire()
                case "release":
                    await self.mutexes[place].release()
                case "complete":
                    await point(self.completion.location.write)
                    self.completion.complete()
                case "until_done":
                    await self.completion.wait()
                case "until_zero":
                    await point(places[place].read, self.are_zero[place])
                case "spin":
                    while True:
                        await point(places[place].read)
                        if values[place]:
                            break


def said(place: int, value: int) -> str:
    """What a failing assertion says."""
    return f"value {place} is {value}"


class Place(NamedTuple):
    """Where a task stands: its next action and its local; nowhere after its end."""

    action: int
    local: int


class State(NamedTuple):
    """Everything that the future depends on."""

    values: tuple[int, ...]
    owners: tuple[int | None, ...]
    done: bool
    places: tuple[Place | None, ...]


Told = tuple[str, str]
"""A finding: its checker, and what a failing assertion says."""


def told(finding: Finding) -> Told:
    return finding.checker, finding.seen if finding.checker == "assertion" else ""


class BruteForce:
    """Takes every order of a program to its end.

    Attributes:
        states: All that can be reached.
        orders: How many there are; None if some order never ends.
        findings: What they show.
        minima: The fewest preemptions, and with these the fewest steps, that show
            it; of orders in which no state comes twice.
    """

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self.states: set[State] = set()
        self.orders: int | None = 0
        self.findings: Counter[Told] = Counter()
        self.minima: dict[Told, tuple[int, int]] = {}
        first = State(
            values=(0,) * len(VALUES),
            owners=(None,) * len(MUTEXES),
            done=False,
            places=(Place(0, 0),) * len(tasks),
        )
        self._go_on(first, None, 0, [])

    def _go_on(
        self, state: State, last: int | None, preemptions: int, path: list[State]
    ) -> None:
        if state in path:
            self.orders = None
            return
        self.states.add(state)
        ready = [task for task in range(len(self.tasks)) if self._is_ready(state, task)]
        if not ready:
            if any(state.places):
                self._found((self._why_stuck(state), ""), preemptions, len(path))
            self._ended()
        for task in ready:
            cost = preemptions + (last != task and last in ready)
            after = self._step(state, task)
            if isinstance(after, State):
                self._go_on(after, task, cost, [*path, state])
            else:
                self._found(("assertion", after), cost, len(path) + 1)
                self._ended()

    def _ended(self) -> None:
        if self.orders is not None:
            self.orders += 1

    def _found(self, what: Told, preemptions: int, steps: int) -> None:
        self.findings[what] += 1
        best = self.minima.get(what, (preemptions, steps))
        self.minima[what] = min(best, (preemptions, steps))

    def _why_stuck(self, state: State) -> str:
        for place, actions in zip(state.places, self.tasks, strict=True):
            if place is not None and actions[place.action].verb == "acquire":
                return "deadlock"
        return "lost-wakeup"

    def _is_ready(self, state: State, task: int) -> bool:
        place = state.places[task]
        if place is None:
            return False
        verb, where, _ = self.tasks[task][place.action]
        if verb == "acquire":
            return state.owners[where] is None
        if verb == "until_done":
            return state.done
        return verb != "until_zero" or state.values[where] == 0

    def _step(self, state: State, task: int) -> State | str:  # noqa: C901
        """The state behind a step, or what a failing assertion says."""
        place = state.places[task]
        assert place is not None
        verb, where, value = self.tasks[task][place.action]
        now, local = state.values[where], place.local
        new: dict[int, int] = {}
        owners, done, is_over = list(state.owners), state.done, True
        match verb:
            case "read":
                local = now
            case "write":
                new = {where: value}
            case "store":
                new = {where: local + value}
            case "add":
                new = {where: now + value}
            case "copy":
                new = {value: now}
            case "check" if now != local:
                return said(where, now)
            case "forbid" if now == value:
                return said(where, now)
            case "acquire":
                owners[where] = task
            case "release":
                owners[where] = None
            case "complete":
                done = True
            case "spin":
                is_over = now != 0
        action = place.action + is_over
        ended = action == len(self.tasks[task])
        places = list(state.places)
        places[task] = None if ended else Place(action, local)
        return State(
            tuple(new.get(at, value) for at, value in enumerate(state.values)),
            tuple(owners),
            done,
            tuple(places),
        )


def up_to_kin(states: set[State], tasks: Tasks) -> int:
    """How many states are left if neighbours that do the same may change places."""
    kin = [
        list(group)
        for _, group in groupby(range(len(tasks)), key=lambda task: tasks[task])
    ]
    return len(
        {
            (
                state.values,
                state.done,
                *(
                    tuple(sorted(repr(state.places[task]) for task in group))
                    for group in kin
                ),
            )
            for state in states
        }
    )


_place = st.integers(0, len(VALUES) - 1)
_constant = st.integers(0, 2)


def _phrase(
    *verbs: str, value: st.SearchStrategy[int] = _constant
) -> st.SearchStrategy[tuple[Action, ...]]:
    """These actions, on one place."""
    return st.builds(
        lambda place, value: tuple(Action(verb, place, value) for verb in verbs),
        _place,
        value,
    )


_changes = (
    _phrase("read", "store")
    | _phrase("write")
    | _phrase("add", value=st.sampled_from([-1, 1]))
    | st.builds(lambda one, other: (Action("copy", one, other),), _place, _place)
)
_phrases = (
    _changes
    | _phrase("read", "check")
    | _phrase("forbid")
    | _phrase("until_zero", value=st.just(0))
    | st.just((Action("complete"),))
    | st.just((Action("until_done"),))
    | st.builds(
        lambda place: (Action("add", place, 1), Action("add", place, -1)), _place
    )
)


def _locked(number: int, inside: tuple[Action, ...]) -> tuple[Action, ...]:
    return (Action("acquire", number), *inside, Action("release", number))


_sections = st.builds(_locked, st.sampled_from(MUTEXES), _changes) | st.sampled_from(
    MUTEXES
).map(lambda number: _locked(number, _locked(1 - number, ())))


def _bodies(
    phrases: st.SearchStrategy[tuple[Action, ...]],
) -> st.SearchStrategy[tuple[Action, ...]]:
    return st.lists(phrases, min_size=1, max_size=3).map(lambda drawn: sum(drawn, ()))


def programs(
    steps: int, *, mutexes: bool = True, spins: bool = False
) -> st.SearchStrategy[Tasks]:
    """Two or three tasks, with so many steps at most; some do the same."""
    phrases = _phrases
    if mutexes:
        phrases |= _sections
    if spins:
        phrases |= _phrase("spin", value=st.just(0))
    body = _bodies(phrases)
    return (
        st.lists(body, min_size=2, max_size=3)
        | st.builds(lambda one, count: [one] * count, body, st.integers(2, 3))
        | st.builds(lambda one, other: [one, one, other], body, body)
    ).filter(lambda tasks: sum(map(len, tasks)) <= steps)
