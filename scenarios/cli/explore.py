"""`memslots explore`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from scenarios.cli import findings, output
from scenarios.cli.exit_codes import BY_VERDICT
from scenarios.cli.run import check_seed, refuse_to_overwrite
from scenarios.errors import InputError
from scenarios.explorer.checkpoint import Checkpoint, read_checkpoint
from scenarios.explorer.engines import Dask, Engine, Processes
from scenarios.explorer.exploration import BOUNDED, EXHAUSTIVE, Answer, Question
from scenarios.explorer.explore import explore as search
from scenarios.explorer.program import Program
from scenarios.explorer.programs import identity, program_of
from scenarios.explorer.repeats import NotDeterministicError
from scenarios.kinds import MemslotsKind, with_memslots
from scenarios.plan import Plan
from scenarios.planner import MAX_VCPUS, find, plan_for
from scenarios.strategies.by_name import SAMPLERS

SCHEDULES = 10_000
"""Orders that are drawn unless told otherwise."""

MAX_JOBS = 1024

_SEEDS = re.compile(r"(\d{1,19}):(\d{1,19})")

_TAKEN_BY: dict[str, tuple[str, ...]] = {
    "schedules": tuple(SAMPLERS),
    "seed": tuple(SAMPLERS),
    "seeds": tuple(SAMPLERS),
    "sticky": ("random",),
    "depth": ("pct",),
    "preemptions": (BOUNDED,),
    "no_prune": (EXHAUSTIVE,),
}
"""Options that not every strategy has a use for."""

Strategy = Literal["random", "pct", "pos", "urw", "bounded", "exhaustive"]
AtLeast0 = Parameter(validator=Number(gte=0))
AtLeast1 = Parameter(validator=Number(gte=1))


def explore(
    scenario: str,
    /,
    *,
    strategy: Strategy | None = None,
    schedules: Annotated[int | None, AtLeast1] = None,
    seed: Annotated[int | None, Parameter(validator=check_seed)] = None,
    seeds: str | None = None,
    sticky: Annotated[float | None, Parameter(validator=Number(gte=0, lt=1))] = None,
    depth: Annotated[int | None, Parameter(validator=Number(gte=1, lte=100))] = None,
    preemptions: Annotated[int | None, AtLeast0] = None,
    no_prune: Annotated[bool, Parameter(negative="")] = False,
    maxfail: Annotated[int | None, AtLeast0] = None,
    time_limit: Annotated[
        float | None, Parameter(validator=Number(gt=0, lte=1e9))
    ] = None,
    max_steps: Annotated[int | None, AtLeast1] = None,
    jobs: Annotated[int, Parameter(validator=Number(gte=1, lte=MAX_JOBS))] = 1,
    engine: Literal["local", "dask"] = "local",
    scheduler: str | None = None,
    checkpoint: Path | None = None,
    resume: Path | None = None,
    schedule: Path | None = None,
    vcpus: Annotated[
        int | None, Parameter(validator=Number(gte=0, lte=MAX_VCPUS))
    ] = None,
    memslots: MemslotsKind = "tree",
    format: output.Format = "text",  # noqa: A002 - the option's name
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    exit_zero: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Search the orders in which the tasks of a scenario can run.

    What breaks is told with the shortest order that shows it.

    Args:
        scenario: A name that `memslots list` shows, or a scenario file (.toml).
        strategy: `random`, `pct`, `pos` and `urw` draw orders; `bounded` tries all with
            no preemption, then all with one, and so on; `exhaustive` tries all. By
            default `pos`.
        schedules: How many orders are drawn; by default 10,000.
        seed: Of the first order that is drawn; by default 0.
        seeds: Of all orders that are drawn, as in 100:200, without the last.
        sticky: `random`: how likely the current task goes on without a draw.
        depth: `pct`: of what is to be found; by default 3.
        preemptions: `bounded`: the most that are tried; by default as many as can be.
        no_prune: `exhaustive`: run each order that differs in more than the exchange of
            independent neighbours; keep no states.
        maxfail: Stop after so many findings, 0 for never; by default 1.
        time_limit: Stop after so many seconds.
        max_steps: Stop after so many steps.
        jobs: How many processes search.
        engine: Where they are: on this machine, or where Dask has its workers.
        scheduler: Address of Dask's scheduler, as in tcp://host:8786.
        checkpoint: Keep in this file how far the search is.
        resume: Go on with the search of this checkpoint; what was asked stands there.
        schedule: Write the shortest order that breaks something to this file, for
            `memslots replay`.
        vcpus: Number of vCPUs; by default what the scenario says.
        memslots: How the VM keeps its slots: in a `tree`, or in an `array`.
        format: `json` prints one object and nothing else.
        quiet: Print nothing unless it does not hold.
        exit_zero: Exit with 0 whatever the verdict.
    """
    options = {
        "strategy": strategy,
        "schedules": schedules,
        "seed": seed,
        "seeds": seeds,
        "sticky": sticky,
        "depth": depth,
        "preemptions": preemptions,
        "no_prune": no_prune or None,
        "maxfail": maxfail,
        "time_limit": time_limit,
        "max_steps": max_steps,
    }
    given = {name: value for name, value in options.items() if value is not None}
    plan = _plan(scenario, vcpus, memslots)
    program = program_of(plan)
    program.digest = identity(plan)
    question = _question(given)
    kept = None
    if resume is not None:
        _check_resumed(resume, given)
        kept = read_checkpoint(resume, program)
        question = kept.asked(time_limit)
    refuse_to_overwrite(find(scenario), checkpoint, schedule)
    where = _Where(engine, scheduler, jobs, checkpoint or resume)
    where.check()
    answer = _search(program, plan, question, where, kept, quiet=quiet)
    told = findings.tell_all(program, plan, question, answer, schedule)
    if format == "json":
        output.print_json(findings.as_dict(plan, question, jobs, answer, told))
    elif not quiet or answer.verdict != "holds":
        findings.print_answer(plan, question, answer, told)
    return 0 if exit_zero else BY_VERDICT[answer.verdict]


def _plan(scenario: str, vcpus: int | None, memslots: MemslotsKind) -> Plan:
    if find(scenario).suffix != ".toml":
        raise InputError(
            f"{scenario}: a recorded trace is one long run, too long to search its"
            " orders; explore a scenario, or let 'memslots run' run the trace with"
            " other seeds"
        )
    return with_memslots(plan_for(scenario, vcpus=vcpus), memslots)


@attrs.frozen
class _Where:
    """Who searches, and where it is kept how far they are."""

    engine: str
    scheduler: str | None
    jobs: int
    checkpoint: Path | None

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            InputError: They do.
        """
        if self.engine == "local" and self.scheduler is not None:
            raise InputError(
                f"--scheduler {self.scheduler}: only Dask has one; add --engine dask"
            )
        if self.engine == "dask" and self.scheduler is None:
            raise InputError(
                "--engine dask: say where with --scheduler, as in tcp://host:8786"
            )
        path = self.checkpoint
        if path is not None and not path.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {path.parent}")
        if self.engine == "dask" and self.jobs > 1:
            raise InputError(
                f"--jobs {self.jobs}: with --engine dask its own workers search; leave"
                " it out"
            )

    def open(self) -> Engine:
        """Make an engine.

        Raises:
            InputError: It cannot be reached.
        """
        if self.scheduler is not None:
            return Dask(self.scheduler)
        return Engine() if self.jobs == 1 else Processes(self.jobs)


def _search(
    program: Program,
    plan: Plan,
    question: Question,
    where: _Where,
    kept: Checkpoint | None,
    *,
    quiet: bool,
) -> Answer:
    """Search, with progress.

    Raises:
        InputError: The scenario is not deterministic, or no cluster answers.
        KeyboardInterrupt: The text says what is left, and how to go on.
    """
    searching = findings.Searching(
        plan.scenario.name, wanted=not quiet, resumed=kept is not None
    )
    engine = where.open()
    try:
        with searching:
            return search(
                program,
                question,
                engine=engine,
                checkpoint=where.checkpoint,
                resume=kept,
                on_progress=searching.note,
            )
    except NotDeterministicError as error:
        raise InputError(f"{plan.source}: is not deterministic: {error}") from error
    except KeyboardInterrupt:
        made = f"{searching.last.executions:,} orders were tried"
        raise KeyboardInterrupt(made, _how_to_go_on(plan, where)) from None
    finally:
        engine.close()


def _how_to_go_on(plan: Plan, where: _Where) -> str:
    path = where.checkpoint
    if path is None or not path.exists():
        return "nothing is kept of them; --checkpoint FILE would keep it"
    command = ["memslots", "explore", plan.source, "--resume", str(path)]
    if plan.memslots != "tree":
        command += ["--memslots", plan.memslots]
    if plan.scenario.vcpu_count:
        command += ["--vcpus", str(plan.scenario.vcpu_count)]
    return f"{path} keeps how far it is; go on with: {shlex.join(command)}"


# What is asked.


def _check_resumed(path: Path, given: Mapping[str, object]) -> None:
    """Refuse to ask something else than a checkpoint does, but for the time.

    Raises:
        InputError: Something else is asked.
    """
    for name, value in given.items():
        if name != "time_limit":
            raise InputError(
                f"{_told(name, value)}: --resume {path} goes on with what was asked"
                " there; leave one of the two out"
            )


def _question(given: Mapping[str, object]) -> Question:
    """The question that options ask.

    Raises:
        InputError: The strategy has no use for one, or two contradict each other.
    """
    options = dict(given)
    strategy = options.setdefault("strategy", Question().strategy)
    for name, takes in _TAKEN_BY.items():
        if name in options and strategy not in takes:
            raise InputError(
                f"{_told(name, options[name])}: strategy {strategy} has no use for it;"
                f" {_listed(takes)} it"
            )
    seeds = _seeds(options)
    if seeds is not None:
        options["seeds"] = seeds
    if options.pop("no_prune", False):
        options["prune"] = False
    if "maxfail" in options:
        options["max_fail"] = options.pop("maxfail")
    return Question(**options)  # type: ignore[arg-type]


def _seeds(options: dict[str, object]) -> range | None:
    """The seeds that the options say, which are taken out of them."""
    text = options.pop("seeds", None)
    seed, schedules = options.pop("seed", None), options.pop("schedules", None)
    if text is None:
        if seed is None and schedules is None:
            return None
        first = seed if isinstance(seed, int) else 0
        count = schedules if isinstance(schedules, int) else SCHEDULES
        return _checked(range(first, first + count), f"--seed {first}")
    for name, value in (("seed", seed), ("schedules", schedules)):
        if value is not None:
            raise InputError(
                f"{_told(name, value)}: --seeds {text} says which orders are drawn;"
                " leave one of the two out"
            )
    match = _SEEDS.fullmatch(str(text))
    if match is None or int(match[1]) >= int(match[2]):
        raise InputError(
            f"--seeds {text}: the first seed, and a larger one behind the last, as in"
            " 0:10000"
        )
    return _checked(range(int(match[1]), int(match[2])), f"--seeds {text}")


def _checked(seeds: range, told: str) -> range:
    if seeds.stop > 1 << 63:
        raise InputError(f"{told}: seeds must be below 2**63")
    return seeds


def _told(name: str, value: object) -> str:
    """An option as it was given."""
    option = f"--{name.replace('_', '-')}"
    return option if value is True else f"{option} {value}"


def _listed(names: tuple[str, ...]) -> str:
    """Who takes something, in words."""
    if len(names) == 1:
        return f"{names[0]} takes"
    return f"{', '.join(names[:-1])} and {names[-1]} take"
