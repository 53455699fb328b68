"""Same seed, same version: same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from scenarios.planner import plan_for
from tests.scenarios.logbook.runs import logged, plans

CONTROLLED = {name: plan for name, plan in plans().items() if plan.mode == "controlled"}

SCRIPT = """
import sys
from pathlib import Path
from scenarios.logbook.writer import LogWriter
from scenarios.planner import plan_for
from scenarios.runner import run

for name in ("q35-boot", "dual-set-swap"):
    run(plan_for(name, seed=3), log=LogWriter(Path(sys.argv[1]) / name))
"""


@pytest.mark.parametrize("name", CONTROLLED)
def test_the_same_seed_writes_the_same_bytes(tmp_path: Path, name: str) -> None:
    paths = [tmp_path / "first", tmp_path / "second"]
    for path in paths:
        logged(CONTROLLED[name], path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_another_seed_writes_other_bytes(tmp_path: Path) -> None:
    plan = plan_for("dual-set-swap")
    digests = set()
    for seed in range(5):
        path = tmp_path / str(seed)
        logged(attrs.evolve(plan, seed=seed), path)
        digests.add(hashlib.sha256(path.read_bytes().partition(b"\n")[2]).hexdigest())
    assert len(digests) == 5


def test_a_log_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    plan = plan_for("dual-set-swap")
    logs = [logged(plan, tmp_path / str(n)) for n in range(2)]
    assert logs[0].order == logs[1].order
    assert logs[0].judgement == logs[1].judgement


def test_two_processes_with_other_hashes_write_the_same_bytes(tmp_path: Path) -> None:
    for hash_seed in ("0", "1"):
        folder = tmp_path / hash_seed
        folder.mkdir()
        subprocess.run(  # noqa: S603 - our own interpreter and script
            [sys.executable, "-c", SCRIPT, str(folder)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
        )
    for name in ("q35-boot", "dual-set-swap"):
        here = tmp_path / name
        logged(plan_for(name, seed=3), here)
        logs = [tmp_path / hash_seed / name for hash_seed in ("0", "1")]
        assert {log.read_bytes() for log in logs} == {here.read_bytes()}
