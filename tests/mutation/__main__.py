"""Changes our own code in every small way, and says which changes no test notices.

``make mutation-test`` does so for all modules of `tests.mutation.targets`, or
``python -m tests.mutation MODULE...`` for some. The exit code is 1 if fewer than 90 of
100 changes that can be noticed are, 2 if a test fails before anything has changed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from time import perf_counter

from tests.architecture.pages import ROOT
from tests.mutation import page
from tests.mutation.judging import Fate, Judged, TestsFail, judge
from tests.mutation.kept import Kept
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.score import ENOUGH, Score, outdated, score, table, unexplained
from tests.mutation.survivors import Survivor, known
from tests.mutation.targets import TARGETS, Target, chosen

_NOTICED = {Fate.KILLED, Fate.TIMED_OUT}


def main(arguments: list[str]) -> int:
    """Judge, print the table, and what is new about survivors."""
    options = _parser().parse_args(arguments)
    try:
        targets = chosen(options.module)
    except ValueError as error:
        return _refuse(str(error))
    if options.record and len(targets) < len(TARGETS):
        return _refuse("--record needs all modules")
    _say(f"does a test notice each small change? modules: {len(targets)}")
    survivors = known()
    scores: dict[str, Score] = {}
    judged: list[Judged] = []
    try:
        for target in targets:
            of_module = list(_judge(target, options))
            scores[target.module] = score(of_module, survivors)
            judged += of_module
    except TestsFail as error:
        return _refuse(str(error))
    except ModuleNotFoundError as error:
        if error.name != "cosmic_ray":
            raise
        return _refuse("cosmic-ray is missing: pip install -e '.[dev,mutation]'")
    lines = table(scores)
    _say("\n".join(["", *lines]))
    _tell_of_survivors(judged, survivors, complete=options.every == 1)
    if options.record:
        page.record(lines, options.every, survivors)
    total = sum(scores.values(), start=Score())
    return int(total.percent < ENOUGH)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.mutation",
        description="Change our own code in every small way, and say which changes no"
        " test notices.",
    )
    parser.add_argument("module", nargs="*", help="a module or a folder; default all")
    parser.add_argument(
        "--every",
        type=_at_least_1,
        default=1,
        metavar="K",
        help="judge the first of K mutants of each module, the one K behind it, ...",
    )
    parser.add_argument(
        "--jobs",
        type=_at_least_1,
        default=1,
        metavar="N",
        help="judge N at a time",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="take over what was noticed before, if the module is the same: for when"
        " tests were only added, or after an interruption",
    )
    parser.add_argument(
        "--record", action="store_true", help=f"write {page.PAGE.relative_to(ROOT)}"
    )
    return parser


def _at_least_1(text: str) -> int:
    if not text.isdecimal() or text == "0":
        raise argparse.ArgumentTypeError(f"must be a number of at least 1, got {text}")
    return int(text)


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)  # noqa: T201 - a command


def _refuse(why: str) -> int:
    sys.stderr.write(f"mutation: {why}\n")
    return 2


def _judge(target: Target, options: argparse.Namespace) -> Iterator[Judged]:
    """Judge the mutants of one module, and show how far that is."""
    began = perf_counter()
    source = (ROOT / target.module).read_text()
    all_mutants = list(mutants(target.module, source))
    kept = Kept(target.module, source)
    places = range(0, len(all_mutants), options.every)
    fates = kept.read() if options.resume else {}
    fates = {p: fates[p] for p in places if fates.get(p) in _NOTICED}
    to_judge = [place for place in places if place not in fates]
    place_of = {id(all_mutants[place]): place for place in to_judge}
    of_module = [all_mutants[place] for place in to_judge]
    try:
        for each in judge(target, of_module, jobs=options.jobs):
            fates[place_of[id(each.mutant)]] = each.fate
            if sys.stdout.isatty():
                _say(f"{target.module}: {len(fates)} of {len(places)}", "\r")
    finally:
        kept.write(fates)
    alive = sum(fate is Fate.SURVIVED for fate in fates.values())
    _say(
        f"{target.module}: {len(fates)} of {len(all_mutants)} mutants, {alive} survive,"
        f" {perf_counter() - began:.0f} s"
    )
    for place in places:
        yield Judged(all_mutants[place], fates[place])


def _tell_of_survivors(
    judged: Sequence[Judged], survivors: Sequence[Survivor], *, complete: bool
) -> None:
    new = [each.mutant for each in unexplained(judged, survivors)]
    for module, of_module in itertools.groupby(new, lambda mutant: mutant.module):
        _say(f"\nsurvive in {module}, and survivors.toml does not say why:")
        for mutant in of_module:
            _say(_told(mutant))
    if complete:
        for each in outdated(judged, survivors):
            _say(f"\nsurvivors.toml knows what is no survivor: {_told(each)}")


def _told(mutant: Mutant | Survivor) -> str:
    where = mutant.function or "the module"
    return f"  {where}, {mutant.operator}\n    - {mutant.before}\n    + {mutant.after}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
