"""A scenario as a program: its machine, and its judge as the one who watches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from rcu.trace import Record, Trace
from scenarios.checkers.judge import Judge
from scenarios.explorer.observed import touched
from scenarios.explorer.program import Finding, Program, SchedulerT, Watch
from scenarios.machine import Machine
from scenarios.plan import Plan


class JudgeWatch(Watch):
    """Tells what the checkers have seen."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge

    def read(self, records: Sequence[Record]) -> None:
        """Hand records to the judge; a sink of the trace."""
        self.heard = [r.event for r in records if self.judge.listens_to(type(r.event))]
        self.judge.read(records)

    def touched(self) -> tuple[Collection[str], Collection[str]]:
        """See `Watch.touched`."""
        return touched(self.heard)

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
    """

    def __init__(self, plan: Plan, *, judged: bool = True) -> None:
        self.name = plan.scenario.name
        self.digest = plan.digest
        self.plan = plan
        self.judged = judged

    def build(self, make: Callable[..., SchedulerT]) -> tuple[SchedulerT, Watch]:
        """See `Program.build`."""
        plan = self.plan
        judge = Judge(plan.scenario.must_exercise)
        watch = JudgeWatch(judge)
        trace = Trace(watch.read) if self.judged else Trace()
        scheduler = make(trace, cpus=plan.scenario.cpus, budget=plan.scenario.budget)
        Machine(plan.scenario, scheduler, work=plan.work, parts=plan.parts)
        return scheduler, watch
