"""`memslots parity`."""

from __future__ import annotations

import random
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
import trio
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.text import Text

from rcu.schedule.pool import open_pool
from scenarios.checkers.judge import Verdict
from scenarios.cli import output, terminal
from scenarios.cli.exit_codes import BY_VERDICT, NO_KERNEL
from scenarios.cli.keeping import RUNS
from scenarios.cli.run import check_seed
from scenarios.errors import InputError
from scenarios.parity.compare import Difference
from scenarios.parity.kernel import Kernel, NoKernelError
from scenarios.parity.lines import first_lines, line_of, told
from scenarios.parity.parity import Parity, Tally, Wanted
from scenarios.parity.recording import Recording
from scenarios.parity.threads import ThreadedParity

CALLS = 20_000
"""Calls unless told otherwise: a few seconds."""


@attrs.frozen
class Asked:
    """What was asked, and of whom.

    Attributes:
        kernel: The running kernel.
        wanted: How much of it.
        threads: How many threads make calls.
        record: Where the calls are recorded; None if they are not.
    """

    kernel: Kernel
    wanted: Wanted
    threads: int
    record: Path | None

    @property
    def name(self) -> str:
        """Which kernel."""
        return self.kernel.features.profile.name

    @property
    def first_lines(self) -> list[str]:
        """How a recording of a VM begins."""
        return first_lines(self.kernel.features.profile.user_mem_slots)


def parity(
    *,
    ops: Annotated[int, Parameter(validator=Number(gte=1))] = CALLS,
    seed: Annotated[int | Literal["random"], Parameter(validator=check_seed)] = 0,
    slots: Annotated[int, Parameter(validator=Number(gte=1))] = 64,
    time_limit: Annotated[
        float | None, Parameter(validator=Number(gt=0, lte=1e9))
    ] = None,
    threads: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 1,
    record: Path | None = None,
    format: output.Format = "text",  # noqa: A002 - the option's name
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> int:
    """Ask the running kernel and the model the same, call by call.

    Args:
        ops: How many calls to make.
        seed: Where the calls are drawn from; `random` draws one and prints it.
        slots: How many slot ids are in play.
        time_limit: Stop after so many seconds.
        threads: How many threads make calls to a VM at a time; an order is then looked
            for in which the answers are right.
        record: Write the calls and the kernel's answers to this file, for `memslots
            run`; all of them then go to one VM.
        format: `json` prints one object and nothing else.
        quiet: Print nothing unless there is a difference.
    """
    try:
        kernel = Kernel()
    except NoKernelError as error:
        terminal.say(f"error: {error}")
        return NO_KERNEL
    _check_slots(kernel, slots)
    drawn = random.SystemRandom().getrandbits(32) if seed == "random" else seed
    if seed == "random" and not quiet:
        terminal.say(f"seed {drawn}")
    wanted = Wanted(
        calls=ops,
        seed=drawn,
        slots=slots,
        seconds=time_limit,
        one_vm=record is not None,
        recordable=record is not None or threads > 1,
    )
    asked = Asked(kernel, wanted, threads, record)
    tally = _compare(asked, quiet=quiet)
    kept = _keep(asked, tally)
    if format == "json":
        output.print_json(_as_dict(asked, tally, kept))
    elif not quiet or tally.verdict is not Verdict.HOLDS:
        _print(asked, tally, kept)
    return BY_VERDICT[tally.verdict.value]


def _check_slots(kernel: Kernel, slots: int) -> None:
    features = kernel.features
    most = features.profile.user_mem_slots * features.address_space_count
    if slots > most:
        raise InputError(
            f"--slots {slots}: this kernel has {most} slot ids a VM; ask for fewer"
        )


def _compare(asked: Asked, *, quiet: bool) -> Tally:
    """Compare, with the recording and the progress.

    Raises:
        KeyboardInterrupt: The text says how many calls agreed, and what is recorded.
    """
    wanted, record = asked.wanted, asked.record
    with ExitStack() as stack:
        recording = None
        if record is not None:
            recording = stack.enter_context(Recording(record))
        progress = output.Progress("parity", wanted=not quiet, unit="calls")
        tell = stack.enter_context(progress)
        run: Parity | ThreadedParity
        if asked.threads > 1:
            run = ThreadedParity(asked.kernel, wanted, asked.threads)
            if recording is not None:
                run.on_lines = recording.write
        else:
            run = Parity(asked.kernel, wanted)
            if recording is not None:
                recording.write(asked.first_lines)
                run.on_exchange = recording.add
        run.on_progress = tell
        try:
            return _run(run)
        except KeyboardInterrupt:
            texts = [f"{run.tally.agreed:,} calls agreed"]
            if record is not None:
                texts.append(f"they are recorded in {record}")
            raise KeyboardInterrupt(*texts) from None


def _run(run: Parity | ThreadedParity) -> Tally:
    if isinstance(run, ThreadedParity):
        return run.run()

    async def body() -> Tally:
        async with open_pool() as pool:
            return await run.run(pool)

    return trio.run(body, restrict_keyboard_interrupt_to_checkpoints=True)


def _keep(asked: Asked, tally: Tally) -> Path | None:
    """Write the calls that show a difference where `memslots run` can read them."""
    lines = tally.lines
    if tally.shortest is not None:
        calls = tally.shortest.exchanges
        lines = asked.first_lines + [line_of(each.call, each.kernel) for each in calls]
    if not lines:
        return None
    path = RUNS / f"parity-{asked.wanted.seed}" / "difference.strace"
    try:
        with Recording(path) as recording:
            recording.write(lines)
    except InputError as error:
        terminal.say(f"note: {error}")
        return None
    return path


def _as_dict(asked: Asked, tally: Tally, kept: Path | None) -> dict[str, Any]:
    """What `--format json` prints."""
    return {
        "kernel": asked.name,
        "seed": asked.wanted.seed,
        "slots": asked.wanted.slots,
        "threads": asked.threads,
        "verdict": tally.verdict.value,
        "ended_by": tally.ended_by,
        "agreed": tally.agreed,
        "succeeded": tally.succeeded,
        "refused": dict(tally.refused),
        "overlapping": tally.overlapping,
        "vms": tally.vms,
        "most_slots": tally.most_slots,
        "difference": _difference_as_dict(tally, kept),
        "record": output.json_path(asked.record),
        "seconds": round(tally.seconds, 3),
    }


def _difference_as_dict(tally: Tally, kept: Path | None) -> dict[str, Any] | None:
    place = {"kept": output.json_path(kept)}
    if tally.unexplained:
        return {"unexplained": tally.unexplained} | place
    shortest, found = tally.shortest, tally.found
    if shortest is None or found is None:
        return None
    return {
        "found_in": len(found.exchanges),
        "calls": [line_of(each.call, each.kernel) for each in shortest.exchanges],
        "kernel": told(shortest.exchanges[-1].kernel),
        "model": told(shortest.model),
    } | place


def _print(asked: Asked, tally: Tally, kept: Path | None) -> None:
    """Print what came of it as text."""
    console = terminal.stdout()
    against = f"the model against {asked.name}, seed {asked.wanted.seed}"
    output.print_title(console, "parity", against)
    rate = tally.agreed / tally.seconds if tally.seconds else 0
    share = 100 * tally.succeeded / max(tally.agreed, 1)
    facts = {
        "calls that agreed": f"{tally.agreed:,} on {_count(tally.vms, 'VM')}",
        "succeeded": f"{tally.succeeded:,} ({share:.0f} %)",
        "refused": ", ".join(
            f"{name} {count:,}" for name, count in tally.refused.most_common()
        ),
        "overlapping": f"{tally.overlapping:,}, of {asked.threads} threads"
        if asked.threads > 1
        else "",
        "most slots at a time": f"{tally.most_slots:,} of {asked.wanted.slots:,}",
        "time": f"{tally.seconds:.2f} s, {rate:,.0f} calls a second",
    }
    if asked.record is not None:
        facts["record"] = str(asked.record)
    width = max(map(len, facts))
    for label, value in facts.items():
        if value:
            console.print(
                terminal.hang(
                    console, f"  {label:<{width}}  ", terminal.one_line(value)
                )
            )
    console.print()
    if tally.shortest is not None:
        _print_difference(console, tally.shortest)
    if tally.unexplained:
        text = terminal.one_line(tally.unexplained)
        console.print(f"{terminal.hang(console, 'difference: ', text)}\n")
    _print_verdict(console, tally)
    if kept is not None:
        terminal.write(f"Run it: memslots run {shlex.quote(str(kept))}\n")


def _print_difference(console: Console, difference: Difference) -> None:
    """Print the calls, the last with both answers."""
    count = _count(len(difference.exchanges), "call")
    console.print(f"difference, shown by {count} to a new VM:")
    for exchange in difference.exchanges:
        console.print(f"  {terminal.one_line(line_of(exchange.call, exchange.kernel))}")
    for who, answer in (
        ("kernel", difference.exchanges[-1].kernel),
        ("model", difference.model),
    ):
        console.print(f"    the {who}: {terminal.one_line(told(answer))}")
    console.print()


def _print_verdict(console: Console, tally: Tally) -> None:
    texts = {
        "calls": "the kernel and the model gave the same answers",
        "time": "the same answers until the time was up",
        "memory": "the kernel has no memory for more slots; ask with fewer --slots",
        "search": "overlapping calls have too many orders; ask with fewer --threads",
        "difference": "the kernel and the model answer differently",
    }
    verdict = tally.verdict.value
    line = Text(terminal.hang(console, f"{verdict}: ", texts[tally.ended_by]))
    line.stylize("bold", 0, len(verdict))
    console.print(line)


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
