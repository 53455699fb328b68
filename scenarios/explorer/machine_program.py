"""A scenario as a program: its machine, and its judge as the one who watches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from rcu.trace import Record, Trace
from rcu.tracepoints import SectionEnded
from scenarios.checkers.judge import Judge
from scenarios.explorer.observed import Places
from scenarios.explorer.program import Finding, Program, SchedulerT, Watch
from scenarios.machine import Machine
from scenarios.plan import Plan

NO_PLACES = Places()


class JudgeWatch(Watch):
    """Tells what the checkers have seen."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._places = NO_PLACES

    def read(self, records: Sequence[Record]) -> None:
        """Hand records to the judge; a sink of the trace."""
        judge = self.judge
        places = self._places = Places()
        for record in records:
            event = record.event
            if judge.listens_to(type(event)):
                ended = None
                if isinstance(event, SectionEnded):
                    ended = judge.history.ending(record, event)
                places.add(event, ended)
        judge.read(records)

    def state(self) -> Sequence[object]:
        """See `Watch.state`."""
        return (self.judge,)

    def begin_step(self) -> None:
        """See `Watch.begin_step`."""
        self._places = NO_PLACES

    def touched(self) -> tuple[Collection[str], Collection[str]]:
        """See `Watch.touched`."""
        return self._places.reads, self._places.writes

    def look(self) -> Finding | None:
        """See `Watch.look`."""
        if not self.judge.violated:
            return None
        first = self.judge.conclude().violations[0]
        return Finding(first.checker, first.seen, first.why)


class MachineProgram(Program):
    """The run of a plan.

    Args:
        plan: What is run.
        judged: Whether checkers look on.
        without: Those that do not.
    """

    def __init__(
        self, plan: Plan, *, judged: bool = True, without: Collection[str] = ()
    ) -> None:
        self.name = plan.scenario.name
        self.digest = plan.digest
        self.plan = plan
        self.judged = judged
        self.without = tuple(without)

    def build(self, make: Callable[..., SchedulerT]) -> tuple[SchedulerT, Watch]:
        """See `Program.build`."""
        plan = self.plan
        judge = Judge(plan.scenario.must_exercise, self.without)
        watch = JudgeWatch(judge)
        trace = Trace(watch.read) if self.judged else Trace()
        scheduler = make(trace, cpus=plan.scenario.cpus, budget=plan.scenario.budget)
        Machine(plan.scenario, scheduler, work=plan.work, parts=plan.parts)
        return scheduler, watch
