"""Why an order breaks something is told in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from rcu.locks import Mutex
from rcu.operation import Location
from rcu.schedule.pool import open_pool
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Body
from scenarios.explorer.blocks import tell_blocks
from scenarios.explorer.program import Finding, Program
from scenarios.explorer.retell import retell
from scenarios.explorer.shortest import BoundedSearch, Counterexample
from scenarios.explorer.story import Race, races_of, tell
from tests.scenarios.explorer.broken_deletes import BROKEN, BrokenDelete
from tests.scenarios.explorer.searching import Bodies, begun


def shortest(program: Program) -> Counterexample:
    """The order of fewest blocks that breaks something."""

    async def body() -> Counterexample:
        async with begun(program) as instance:
            search = BoundedSearch(instance, switches=True)
            search.begin()
            while search.advance(100_000):
                pass
            assert search.found is not None
            return search.found

    return trio.run(body)


def told(program: Program) -> str:
    """The shortest order that breaks a program, and its sentence."""
    found = shortest(program)
    story = tell(program, found.finding, found.order)
    assert tuple(step.task for step in story.steps) == found.order
    return "\n".join([*tell_blocks(story.steps), story.sentence])


def unfolded(text: str) -> str:
    """A text with its last lines, a sentence, in one."""
    *blocks, sentence = text.strip("\n").partition("\n\n")
    return "".join([blocks[0], "\n", " ".join(sentence.split())])


STORIES = {
    "NO_SYNC1": """
    reader0  1-4    read srcu_idx; write readers of rank 0; read active set; read set 0
  ! writer   5-8    write set 1; write active set; write spte; write set 0
  ! reader0  9-10   map spte, slot; read set 0

Step 8 (writer: write set 0) and step 10 (reader0: read set 0) meet at set 0 and could
as well be made the other way round; what should have ordered them: a set is edited only
when everybody who may use it has left his section.
""",
    "NO_SYNC2": """
    writer   1-4    write set 1; write active set; read readers of rank 1; write
                    srcu_idx
  ! reader0  5-8    read srcu_idx; write readers of rank 1; read active set; read set 1
  ! writer   9-13   read readers of rank 0; write spte; write set 0; write active set;
                    write set 1
  ! reader0  14-15  look at slot; read set 1

Step 13 (writer: write set 1) and step 15 (reader0: read set 1) meet at set 1 and could
as well be made the other way round; what should have ordered them: a set is edited only
when everybody who may use it has left his section.
""",
    "FREE_EARLY": """
    writer   1-4    write set 1; write active set; read readers of rank 1; write
                    srcu_idx
  ! reader0  5-7    read srcu_idx; write readers of rank 1; read active set
  ! writer   8-12   read readers of rank 0; write spte; write set 0; write active set;
                    free slot, spte
  ! reader0  13-14  read set 1; look at slot

Step 12 (writer: free slot, spte) and step 14 (reader0: look at slot) meet at slot and
could as well be made the other way round; what should have ordered them: nothing is
freed before everybody who may have found it has left his section.
""",
    "ONE_FLIP": """
    reader0  1      read srcu_idx
  ! writer   2-5    write set 1; write active set; write srcu_idx; read readers of rank
                    0
  ! reader0  6-8    write readers of rank 0; read active set; read set 1
  ! writer   9-14   write spte; write set 0; write active set; write srcu_idx; read
                    readers of rank 1; write set 1
  ! reader0  15-16  look at slot; read set 1

Step 14 (writer: write set 1) and step 16 (reader0: read set 1) meet at set 1 and could
as well be made the other way round; what should have ordered them: a set is edited only
when everybody who may use it has left his section.
""",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_story_of_a_broken_delete(broken: str) -> None:
    assert told(BrokenDelete(BROKEN[broken], 2)) == unfolded(STORIES[broken])


def two_locks(scheduler: Scheduler) -> Sequence[Body]:
    """Two locks, acquired in either order."""
    slots, arch = Mutex(scheduler, "slots_lock"), Mutex(scheduler, "slots_arch_lock")

    async def update() -> None:
        await slots.acquire()
        await arch.acquire()
        await arch.release()
        await slots.release()

    async def allocate() -> None:
        await arch.acquire()
        await slots.acquire()
        await slots.release()
        await arch.release()

    return update, allocate


def test_story_of_a_deadlock() -> None:
    assert told(Bodies(two_locks)) == unfolded("""
    task0  1    acquire slots_lock
  ! task1  2    acquire slots_arch_lock

At the end task0 waits to acquire slots_arch_lock, which task1 holds since step 2; task1
waits to acquire slots_lock, which task0 holds since step 1; what should hold: no task
waits for what cannot come.
""")


class Sleeper:
    """Sleeps until it is woken; that it must look again before it does is forgotten."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.flag = self.sleeps = False
        self.at_flag, self.at_sleeper = Location("flag"), Location("sleeper")

    async def sleep(self) -> None:
        await self.point(self.at_flag.read)
        if self.flag:
            return
        await self.point(self.at_sleeper.write)
        self.sleeps = True
        await self.point(self.at_sleeper.read, self.is_awake)

    async def wake(self) -> None:
        await self.point(self.at_flag.write)
        self.flag = True
        await self.point(self.at_sleeper.write)
        self.sleeps = False

    def is_awake(self) -> bool:
        return not self.sleeps


def sleeper_and_waker(scheduler: Scheduler) -> Sequence[Body]:
    sleeper = Sleeper(scheduler)
    return sleeper.sleep, sleeper.wake


def test_story_of_a_lost_wakeup() -> None:
    assert told(Bodies(sleeper_and_waker)) == unfolded("""
    task0  1    read flag
  ! task1  2-3  write flag; write sleeper
    task0  4    write sleeper

At the end task0 waits to read sleeper, which somebody else changed last in step 3
(task1: write sleeper); what should hold: whoever waits can be woken by who is left.
""")


def only_a_sleeper(scheduler: Scheduler) -> Sequence[Body]:
    return (Sleeper(scheduler).sleep,)


def test_story_of_a_task_that_nobody_could_wake() -> None:
    assert told(Bodies(only_a_sleeper)) == unfolded("""
    task0  1-2  read flag; write sleeper

At the end task0 waits to read sleeper, which nobody else has changed; what should hold:
whoever waits can be woken by who is left.
""")


def broken_alone(scheduler: Scheduler) -> Sequence[Body]:
    """A task that breaks something whatever the other one does."""
    here, there = Location("here"), Location("there")

    async def fail() -> None:
        await scheduler.point(here.write)
        raise AssertionError("it never works")

    async def go() -> None:
        await scheduler.point(there.write)

    return fail, go


def test_story_of_what_needs_nobody_else() -> None:
    assert told(Bodies(broken_alone)) == unfolded("""
    task0  1    write here

No two steps of different tasks meet in this order: it never works.
""")


def test_loop_and_starvation_are_told_by_their_steps() -> None:
    program = Bodies(broken_alone)
    loop = Finding("livelock", "for ever a: read x, b: write y")
    assert tell(program, loop, [1]).sentence == (
        "The last steps lead back to where they began, and whoever could end it takes"
        " part in it: a: read x, b: write y."
    )
    hungry = Finding("starvation", "no step in 50: a waits to read x")
    assert tell(program, hungry, [1]).sentence == (
        "Everybody who can go on goes on in turn, and yet no step in 50: a waits to"
        " read x."
    )


class Early:
    """One task needs what another one makes, and does not wait for it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.made = False
        self.here, self.at = Location("here"), Location("slot")

    async def make(self) -> None:
        await self.point(self.here.write)
        await self.point(self.at.write)
        self.made = True

    async def use(self) -> None:
        await self.point(self.at.read)
        if not self.made:
            raise AssertionError("a slot is used when it has been made")


def early(scheduler: Scheduler) -> Sequence[Body]:
    both = Early(scheduler)
    return both.make, both.use


def test_story_of_what_comes_too_early() -> None:
    assert told(Bodies(early)) == unfolded("""
    task1  1    read slot

Step 1 (task1: read slot) and what task0 has not done by then (write slot) meet at slot
and could as well be made the other way round; what should have ordered them: a slot is
used when it has been made.
""")


class Counter:
    """Two tasks add to a number at once, and a third looks at it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.number = 0
        self.at = Location("number")
        self.elsewhere = Location("elsewhere")

    async def add(self) -> None:
        await self.point(self.at.read)
        seen = self.number
        await self.point(self.at.write)
        self.number = seen + 1

    async def check(self) -> None:
        await self.point(self.at.read, self.has_begun)
        if self.number != 2:
            raise AssertionError(f"two have added, and it is {self.number}")

    def has_begun(self) -> bool:
        return self.number > 0


def lost_update(scheduler: Scheduler) -> Sequence[Body]:
    counter = Counter(scheduler)
    return counter.add, counter.add, counter.check


ADD0, ADD1, CHECK = range(3)


async def test_races_are_neighbours_that_nothing_else_orders() -> None:
    async with open_pool() as pool:
        run = await retell(Bodies(lost_update), pool, [ADD0, ADD1, ADD0, ADD1, CHECK])
    assert run.finding == Finding("assertion", "two have added, and it is 1")
    assert races_of(run) == [Race(3, 4), Race(2, 3), Race(1, 2)]


async def test_order_is_made_as_far_as_it_can_be_and_then_further() -> None:
    async with open_pool() as pool:
        run = await retell(Bodies(lost_update), pool, [CHECK, ADD1, ADD0], further=10)
    assert [step.task for step in run.steps] == [ADD1, ADD0, ADD0, ADD1, CHECK]
    assert [step.preempts for step in run.steps] == [False, True, False, False, False]
    assert run.waits == (False, False, False, False, True)
    assert run.stuck == ()


def test_race_counts_without_which_the_run_goes_well() -> None:
    """Not the one with whoever only looks at what came of it."""
    program = Bodies(lost_update)
    order = [ADD0, ADD1, ADD0, ADD1, CHECK]
    finding = Finding("assertion", "two have added, and it is 1")
    story = tell(program, finding, order)
    assert story.sentence == (
        "Step 2 (task1: read number) and step 3 (task0: write number) meet at number"
        " and could as well be made the other way round; what should have ordered them:"
        " two have added, and it is 1."
    )
