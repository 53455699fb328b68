"""Every order once, up to exchanges of neighbouring steps that are independent.

Two orders that differ by such exchanges only are the same *trace*: every task sees the
same in both. The search makes one run for each trace and none in vain. It looks at a
run that has ended for steps that could be made the other way round, and plants at the
node before them the steps that lead there, unless some branch leads there already
(wakeup trees) or did (sleep sets). No state is compared or kept.

A step that has to wait depends on whoever changes what it waits for, but to exchange it
with the step that lets it go on leads nowhere. It could have gone on earlier, before
somebody made it wait: each such place is found, and its condition is asked there, once
for each history of what it reads.

A task that breaks a rule ends there. The others go on, for what they do makes other
traces; what is seen behind the broken rule is not told.

Source: P. A. Abdulla, S. Aronis, B. Jonsson, K. Sagonas, Source Sets: A Foundation for
Optimal Dynamic Partial Order Reduction, Journal of the ACM 64 (4), 2017.
"""

from __future__ import annotations

from typing import Any

import attrs

from rcu.operation import START
from rcu.schedule.task import Task
from scenarios.explorer.happens_before import (
    Access,
    Accesses,
    Event,
    Places,
    Run,
    Step,
    bits,
    tell,
)
from scenarios.explorer.program import Finding, Instance
from scenarios.explorer.wakeup_tree import Branch, Sequence, flat, graft, grown


class UndeclaredError(Exception):
    """A step depends on more than its operation says: traces cannot be told apart."""


class EndlessRunError(Exception):
    """A run does not come to its end: there may be no end of traces."""


@attrs.define(eq=False)
class Node:
    """A place of the run where it may branch.

    Attributes:
        sleep: Steps that need not be tried: all that begins with them was.
        branches: What is to be tried.
    """

    sleep: list[Step]
    branches: list[Branch]

    def take_step(self) -> list[Branch]:
        """What is to come behind the step that is tried first."""
        if not self.branches:
            return []
        branch = self.branches[0]
        branch.steps.pop()
        del self.branches[0]
        return [branch] if branch.steps else branch.branches


class TraceSearch:
    """Makes one run of each trace.

    Args:
        instance: What is searched; lent to a pool.
        longest: Steps after which a run is said to have no end.

    Attributes:
        executions: How many runs were made to their end.
        redundant: How many runs were given up because whatever could be done had been
            tried; there should be none.
        questions: How often a condition was asked where no run had asked it; the steps
            that lead there are made for it.
        steps: How many steps were made in all that.
        found: The broken rules met, with the order that shows each.
    """

    def __init__(self, instance: Instance, *, longest: int = 10_000) -> None:
        self.instance = instance
        self.longest = longest
        self.executions = 0
        self.redundant = 0
        self.questions = 0
        self.steps = 0
        self.found: list[tuple[Finding, tuple[int, ...]]] = []
        self._accesses = Accesses()
        self._run = Run()
        self._nodes: list[Node] = []
        self._answers: dict[int, bool] = {}  # of conditions, by history

    def begin(self) -> None:
        """Stand before the first run."""
        self.instance.begin()
        if self._look():
            self.executions = 1
        else:
            self._nodes.append(Node([], []))

    def advance(self, budget: int) -> bool:
        """Go on for about ``budget`` steps; false if every trace has been run.

        Raises:
            UndeclaredError: A step is not what it was in an order of the same trace.
            EndlessRunError: A run has more steps than a run may have.
        """
        limit = self.steps + budget
        while self._nodes and self.steps < limit:
            known = len(self._run.events)
            if self._make_run():
                waiting = self._waiting()
                self._judge()
                self.run_ended()
                self._reverse_races(known)
                self._reverse_waits(known, waiting)
            else:
                self.redundant += 1
            self._turn_back()
        return bool(self._nodes)

    def state(self) -> dict[str, Any]:
        """Where the search is, as plain values; between two calls of `advance`."""
        return {
            "counts": (self.executions, self.redundant, self.questions, self.steps),
            "found": [(attrs.astuple(one), order) for one, order in self.found],
            "locations": [*self._accesses.numbers],
            "events": [
                (*tell(event.step), event.waits, event.ended, event.broken)
                for event in self._run.events
            ],
            "nodes": [
                ([*map(tell, node.sleep)], flat(node.branches)) for node in self._nodes
            ],
            "answers": {**self._answers},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Stand where another search of the same program was; not begun yet."""
        step = self._accesses.step
        self.executions, self.redundant, self.questions, self.steps = state["counts"]
        self.found = [(Finding(*one), tuple(order)) for one, order in state["found"]]
        self._accesses.numbers.update(
            (name, number) for number, name in enumerate(state["locations"])
        )
        for task, reads, writes, waits, ended, broken in state["events"]:
            event = self._run.add(*step((task, reads, writes)), waits=waits)
            event.ended, event.broken = ended, broken
        for sleep, branches in state["nodes"]:
            self._nodes.append(Node([*map(step, sleep)], grown(branches, step)))
        self._answers.update(state["answers"])

    @property
    def order(self) -> tuple[int, ...]:
        """Who made each step of the run, as task indexes."""
        return tuple(event.task for event in self._run.events)

    def run_ended(self) -> None:
        """A run has come to its end, and its order is known."""
        self.executions += 1

    def _make_run(self) -> bool:
        """Go where the run branches, and on to its end; false if that is in vain."""
        scheduler, events = self.instance.scheduler, self._run.events
        self._go_to((1 << len(events)) - 1)
        broken = any(event.broken for event in events)
        while True:
            node = self._nodes[-1]
            if node.branches:
                task = self._woken(node.branches[0].steps[-1])
            else:
                ready = scheduler.ready()
                asleep = [index for index, _ in node.sleep]
                awake = [task for task in ready if task.index not in asleep]
                if not awake:
                    break
                task = awake[0]
                if events and events[-1].task != task.index:
                    last = scheduler.tasks[events[-1].task]
                    task = last if last in awake else task
            broken = self._step(node, task, broken=broken)
        return not ready

    def _go_to(self, places: Places) -> None:
        """Begin, and make these steps of the run."""
        scheduler = self.instance.scheduler
        order = self._run.order(places)
        self.instance.begin()
        scheduler.follow(order)
        self.steps += len(order)
        for place in bits(places):
            event = self._run.events[place]
            if event.ended:
                scheduler.tasks[event.task].until = _never

    def _woken(self, step: Step) -> Task:
        """Who is to make this step."""
        index, access = step
        task = self.instance.scheduler.tasks[index]
        if (
            task.finished
            or self._accesses.of(task.op) is not access
            or not (task.until is None or task.until())
        ):
            raise UndeclaredError(
                f"after the steps {self.order}, task {task.name} cannot make the step"
                f" that it made in another order of them ({task.op} is next): some"
                " step or condition depends on more than its operation names"
            )
        return task

    def _step(self, node: Node, task: Task, *, broken: bool) -> bool:
        """Make a step; say whether a rule is broken by now."""
        run = self._run
        if len(run.events) == self.longest:
            raise EndlessRunError(
                f"a run has more than {self.longest} steps, the next one is"
                f" {task.name}: {task.op}; does a task poll?"
            )
        access = self._accesses.of(task.op)
        event = run.add(task.index, access, waits=task.until is not None)
        if event.waits:
            self._answers[event.history] = True
        task.op = START
        self.instance.scheduler.step(task)
        self.steps += 1
        if task.op is START and not task.finished:
            event.ended = True
            task.until = _never
        if not broken:
            broken = event.broken = self._look()
        sleep = self._asleep(node.sleep, access)
        self._nodes.append(Node(sleep, node.take_step()))
        return broken

    def _asleep(self, sleep: list[Step], access: Access) -> list[Step]:
        """Those that are not woken by such a step."""
        return [step for step in sleep if not access.depends_on(step[1])]

    def _look(self) -> bool:
        """Whether a rule is broken now, which is noted."""
        finding = self.instance.look()
        if finding is not None:
            self.found.append((finding, self.order))
        return finding is not None

    def _judge(self) -> None:
        """Note what is broken where the run ended, or beside what is broken in it."""
        broken = 0
        for place, event in enumerate(self._run.events):
            broken |= event.broken << place
        if not broken:
            finding = self.instance.at_end()
            if finding is not None:
                self.found.append((finding, self.order))
        while broken:
            broken = self._look_beside(broken)

    def _look_beside(self, broken: Places) -> Places:
        """Note what is broken in this trace though none of these steps is made.

        Returns:
            These steps and the one behind which it was seen; none if nothing was.
        """
        scheduler = self.instance.scheduler
        order: list[int] = []
        self._go_to(0)
        for place, event in enumerate(self._run.events):
            if not event.past & broken:
                order.append(event.task)
                scheduler.step(scheduler.tasks[event.task])
                self.steps += 1
                finding = self.instance.look()
                if finding is not None:
                    self.found.append((finding, tuple(order)))
                    event.broken = True
                    return broken | 1 << place
        return 0

    def _waiting(self) -> list[tuple[int, Event]]:
        """Steps with a condition, and where they were made; or where the run ended."""
        run = self._run
        waiting = [(p, event) for p, event in enumerate(run.events) if event.waits]
        end = len(run.events)
        for task in self.instance.scheduler.tasks:
            until = task.until
            if not (task.finished or until is None or until is _never):
                access = self._accesses.of(task.op)
                event = run.add(task.index, access, waits=True)
                self._answers[event.history] = False
                waiting.append((end, event))
                run.drop()
        return waiting

    def _reverse_races(self, known: int) -> None:
        """Have steps tried before those that they depend on.

        Args:
            known: How many steps the run has in common with the one before it.
        """
        run = self._run
        for event in run.events[known:]:
            if not event.waits:
                for rival in event.races:
                    self._plant(rival, run.besides(rival), event)

    def _reverse_waits(self, known: int, waiting: list[tuple[int, Event]]) -> None:
        """Have steps tried where their condition holds as well.

        Args:
            known: How many steps the run has in common with the one before it.
            waiting: Steps with a condition, and where they were made.
        """
        run = self._run
        for place, event in waiting:
            if place < known:
                continue
            access = event.access
            past = run.past_of(event.before)
            rivals = run.rivals(access) & ~past & (1 << place) - 1
            changes = run.changes(access) & ~past
            for rival in bits(rivals):
                for besides in self._fewer(run.besides(rival), changes):
                    if self._holds(event, besides | (1 << rival) - 1):
                        self._plant(rival, besides, event)

    def _fewer(self, besides: Places, changes: Places) -> list[Places]:
        """These steps, and fewer and fewer of those that change something."""
        found = [besides]
        for places in found:
            for change in bits(places & changes):
                fewer = places & self._run.besides(change) | places & (1 << change) - 1
                if fewer not in found:
                    found.append(fewer)
        return found

    def _holds(self, event: Event, among: Places) -> bool:
        """Whether the condition of a step holds behind those in ``among``."""
        run, scheduler = self._run, self.instance.scheduler
        access, before = event.access, event.before
        history = run.history(event.task, access, before, among)
        answer = self._answers.get(history)
        if answer is None:
            self._go_to(run.sources(access, before, among))
            until = scheduler.tasks[event.task].until
            answer = self._answers[history] = until is None or until()
            self.questions += 1
        return answer

    def _plant(self, place: int, besides: Places, last: Event) -> None:
        """Have the steps ``besides`` and a last one tried in place of a step."""
        node = self._nodes[place]
        sequence = Sequence(self._run, besides, last)
        if not any(map(sequence.may_begin_with, node.sleep)):
            graft(node.branches, sequence)

    def _turn_back(self) -> None:
        """Go back to where there is something to be tried."""
        nodes = self._nodes
        nodes.pop()
        while nodes:
            event = self._run.drop()
            node = nodes[-1]
            node.sleep.append(event.step)
            if node.branches:
                return
            nodes.pop()


def _never() -> bool:
    return False
