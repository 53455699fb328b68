"""Runs scenarios of the catalogue and judges them again from their logs alone.

``python -m tests.scenarios.logbook.catalogue_logs [SEEDS]`` does it to all of them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import attrs

from scenarios.catalogue.entries import entries
from scenarios.logbook.check import check_log
from scenarios.planner import plan_for
from tests.scenarios.logbook.runs import logged

SEEDS = 20


def difference(name: str, seed: int, path: Path) -> str:
    """What a log says otherwise than its run; empty if nothing."""
    plan = attrs.evolve(plan_for(name), seed=seed)
    online, offline = logged(plan, path).judgement, check_log(path)
    if offline == online:
        return ""
    return f"{name}, seed {seed}: {online} but {offline} from the log"


def main() -> int:
    """Say of each scenario whether its logs are judged as its runs were."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        for name in entries():
            differ = [difference(name, seed, path) for seed in range(seeds)]
            wrong += sum(map(bool, differ))
            print(name, *filter(None, differ), sep="\n  ", flush=True)  # noqa: T201 - a command
    print(f"{wrong} logs of {seeds * len(entries())} are judged otherwise")  # noqa: T201
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
