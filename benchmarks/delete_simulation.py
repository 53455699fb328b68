"""The deletion under SRCU once more, as generators, and samplers written once more.

Nothing is shared with the program that it is compared with: no task, no operation, no
strategy. It says how often a sampler should show what is broken.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

VALID, INVALID, NONE = range(3)

Access = tuple[str, bool]
"""What a step touches, and whether it writes; ``wait 0`` also waits for rank 0."""

Body = Iterator[Access]


class Broken(Exception):  # noqa: N818 - it is what is looked for
    """The run shows what is broken."""


class Run:
    """One run of a protocol with a step missing.

    Args:
        missing: ``NO_SYNC1``, ``NO_SYNC2``, ``FREE_EARLY`` or ``ONE_FLIP``.
        readers: How many.
    """

    def __init__(self, missing: str, readers: int) -> None:
        self.missing = missing
        self.active = self.index = 0
        self.counts, self.generation, self.slot = [0, 0], [0, 0], [VALID, VALID]
        self.spte = self.freed = False
        self.bodies = [*(self.reader() for _ in range(readers)), self.writer()]
        self.pending: dict[int, Access] = {}
        for task in range(len(self.bodies)):
            self.step(task)

    def step(self, task: int) -> None:
        """Let a task make the step that it stands before, and come to the next."""
        try:
            self.pending[task] = next(self.bodies[task])
        except StopIteration:
            del self.pending[task]

    def enabled(self) -> list[int]:
        """Who can make a step."""
        return [task for task in sorted(self.pending) if self.may_go(task)]

    def may_go(self, task: int) -> bool:
        """Whether a task does not wait."""
        place, _ = self.pending[task]
        return not (place.startswith("wait") and self.counts[int(place[-1])])

    def reader(self) -> Body:
        """One lookup in one section."""
        yield "index", False
        index = self.index
        yield f"count {index}", True
        self.counts[index] += 1
        yield "active", False
        active = self.active
        yield f"set {active}", False
        generation, slot = self.generation[active], self.slot[active]
        yield ("nothing", False) if slot == NONE else (f"use {slot}", slot == VALID)
        if slot != NONE and self.freed:
            raise Broken
        self.spte |= slot == VALID
        yield f"set {active}", False
        if self.generation[active] != generation:
            raise Broken
        yield f"count {index}", True
        self.counts[index] -= 1

    def writer(self) -> Body:
        """Mark, swap, wait, flush, take out, swap, wait, free."""
        yield from self.change(INVALID)
        if self.missing != "NO_SYNC1":
            yield from self.synchronize()
        yield "flush", True
        self.spte = False
        yield from self.change(NONE)
        if self.missing == "FREE_EARLY":
            yield from self.free()
        if self.missing != "NO_SYNC2":
            yield from self.synchronize()
        yield from self.edit(NONE)
        if self.missing != "FREE_EARLY":
            yield from self.free()

    def change(self, slot: int) -> Body:
        """Edit the inactive set and publish it."""
        yield from self.edit(slot)
        yield "active", True
        self.active ^= 1

    def edit(self, slot: int) -> Body:
        """Change the inactive set."""
        inactive = 1 - self.active
        yield f"set {inactive}", True
        self.slot[inactive] = slot
        self.generation[inactive] += 1

    def free(self) -> Body:
        """Free the slot."""
        yield "free", True
        if self.spte:
            raise Broken
        self.freed = True

    def synchronize(self) -> Body:
        """Scan, flip, scan."""
        if self.missing != "ONE_FLIP":
            yield f"wait {1 - self.index}", False
        yield "index", True
        self.index ^= 1
        yield f"wait {1 - self.index}", False


def depend(one: Access, other: Access) -> bool:
    """Whether the order of two steps matters."""
    touched = _places(one), _places(other)
    shared = touched[0].keys() & touched[1].keys()
    return any(touched[0][place] or touched[1][place] for place in shared)


def _places(access: Access) -> dict[str, bool]:
    """What is touched, and whether it is written."""
    place, writes = access
    if place.startswith("wait"):
        return {f"count {place[-1]}": False}
    # The spte is written by who maps and by the flush, and read by who frees.
    several = {
        f"use {VALID}": {"slot": False, "spte": True},
        f"use {INVALID}": {"slot": False},
        "flush": {"spte": True},
        "free": {"spte": False, "slot": True},
    }
    return several.get(place, {place: writes})


Sampler = Callable[[Run, random.Random], Iterator[int]]
"""Yields who goes next."""


def walk(run: Run, dice: random.Random) -> Iterator[int]:
    """Anyone, with equal chance."""
    while enabled := run.enabled():
        yield dice.choice(enabled)


def pos(run: Run, dice: random.Random) -> Iterator[int]:
    """Whichever pending step has the highest priority; who races draws again."""
    priority = {task: dice.random() for task in run.pending}
    while enabled := run.enabled():
        task = max(enabled, key=priority.__getitem__)
        done = run.pending[task]
        for other in enabled:
            if other == task or depend(done, run.pending[other]):
                priority[other] = dice.random()
        yield task


def pct(depth: int, choices: int) -> Sampler:
    """Whoever has the highest priority, with ``depth`` - 1 demotions.

    Args:
        depth: Of what is to be found.
        choices: Steps of a run at which there is a choice.
    """

    def sampler(run: Run, dice: random.Random) -> Iterator[int]:
        tasks = sorted(run.pending)
        priority = dict(zip(tasks, dice.sample(range(100), len(tasks)), strict=True))
        at = dice.sample(range(1, choices + 1), depth - 1)
        choice = 0
        while enabled := run.enabled():
            task = max(enabled, key=priority.__getitem__)
            if len(enabled) > 1:
                choice += 1
                if choice in at:
                    priority[task] = -1 - at.index(choice)
            yield task

    return sampler


def urw(lengths: tuple[int, ...]) -> Sampler:
    """Anyone, weighted with the steps left.

    Args:
        lengths: Steps of each task in a run.
    """

    def sampler(run: Run, dice: random.Random) -> Iterator[int]:
        left = list(lengths)
        while enabled := run.enabled():
            (task,) = dice.choices(enabled, [left[task] for task in enabled])
            left[task] = max(1, left[task] - 1)
            yield task

    return sampler


def hits(missing: str, readers: int, sampler: Sampler, runs: int) -> int:
    """In how many of so many runs it shows."""
    dice = random.Random(0)
    return sum(_is_shown(Run(missing, readers), sampler, dice) for _ in range(runs))


def _is_shown(run: Run, sampler: Sampler, dice: random.Random) -> bool:
    try:
        for task in sampler(run, dice):
            run.step(task)
    except Broken:
        return True
    return False
