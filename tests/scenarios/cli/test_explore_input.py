"""What `explore` is told and cannot do: one line, and exit code 2."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from scenarios.explorer import checkpoint
from tests.scenarios.cli.calling import HOLDS, Cli

NAME = "delete-under-srcu"

WRONG: dict[str, tuple[list[object], str]] = {
    "jobs": (["--jobs", 0], "--jobs"),
    "many jobs": (["--jobs", 100_000], "1024"),
    "seeds": (
        ["--seeds", "5:2"],
        "--seeds 5:2: the first seed, and a larger one behind the last, as in 0:10000",
    ),
    "no seeds": (["--seeds", "5:5"], "--seeds 5:5: the first seed"),
    "seeds in words": (["--seeds", "all"], "--seeds all: the first seed"),
    "negative seeds": (["--seeds=-3:2"], "--seeds -3:2: the first seed"),
    "huge seeds": (
        ["--seeds", f"0:{1 << 63 | 1}"],
        f"--seeds 0:{1 << 63 | 1}: seeds must be below 2**63",
    ),
    "last seed": (
        ["--seed", (1 << 63) - 1],
        f"--seed {(1 << 63) - 1}: seeds must be below 2**63",
    ),
    "huge seed": (["--seed", 1 << 63], str(1 << 63)),
    "seeds and seed": (
        ["--seeds", "0:5", "--seed", 3],
        "--seed 3: --seeds 0:5 says which orders are drawn; leave one of the two out",
    ),
    "seeds and schedules": (["--seeds", "0:5", "--schedules", 3], "--schedules 3: --s"),
    "no schedules": (["--schedules", 0], "--schedules"),
    "strategy": (["--strategy", "rendom"], 'Did you mean "random"?'),
    "round-robin": (["--strategy", "round-robin"], "round-robin"),
    "sticky": (["--strategy", "random", "--sticky", 1], "--sticky"),
    "sticky of another": (
        ["--sticky", 0.5],
        "--sticky 0.5: strategy pos has no use for it; random takes it",
    ),
    "depth of another": (
        ["--strategy", "urw", "--depth", 3],
        "--depth 3: strategy urw has no use for it; pct takes it",
    ),
    "depth": (["--strategy", "pct", "--depth", 0], "--depth"),
    "preemptions of another": (
        ["--preemptions", 2],
        "--preemptions 2: strategy pos has no use for it; bounded takes it",
    ),
    "preemptions": (["--strategy", "bounded", "--preemptions", -1], "--preemptions"),
    "pruning of another": (
        ["--strategy", "bounded", "--no-prune"],
        "--no-prune: strategy bounded has no use for it; exhaustive takes it",
    ),
    "seeds of no sampler": (
        ["--strategy", "exhaustive", "--seeds", "0:5"],
        (
            "--seeds 0:5: strategy exhaustive has no use for it; random, pct, pos and"
            " urw take it"
        ),
    ),
    "schedules of no sampler": (
        ["--strategy", "bounded", "--schedules", 5],
        "--schedules 5: strategy bounded has no use for it",
    ),
    "time": (["--time-limit", 0], "--time-limit"),
    "no time at all": (["--time-limit", "nan"], "--time-limit"),
    "steps": (["--max-steps", 0], "--max-steps"),
    "findings": (["--maxfail", -1], "--maxfail"),
    "engine": (["--engine", "spark"], "spark"),
    "dask without a scheduler": (
        ["--engine", "dask"],
        "--engine dask: say where with --scheduler, as in tcp://host:8786",
    ),
    "scheduler without dask": (
        ["--scheduler", "tcp://host:1"],
        "--scheduler tcp://host:1: only Dask has one; add --engine dask",
    ),
    "dask with jobs": (
        ["--engine", "dask", "--scheduler", "tcp://host:1", "--jobs", 4],
        "--jobs 4: with --engine dask its own workers search; leave it out",
    ),
    "vcpus": (["--vcpus", 3], "delete-under-srcu: is a protocol without vCPUs"),
    "memslots": (
        ["--memslots", "array"],
        "--memslots array: delete-under-srcu is a pr",
    ),
    "format": (["--format", "file"], "file"),
    "missing checkpoint": (["--resume", "none"], "none: No such file or directory"),
    "resumed and asked": (
        ["--resume", "none", "--strategy", "pct"],
        (
            "--strategy pct: --resume none goes on with what was asked there; leave one"
            " of the two out"
        ),
    ),
    "resumed and pruned": (
        ["--strategy", "exhaustive", "--resume", "none", "--no-prune"],
        "--strategy exhaustive: --resume none goes on",
    ),
    "two outputs in one": (
        ["--checkpoint", "x", "--schedule", "x"],
        "will not overwrite x",
    ),
    "checkpoint nowhere": (
        ["--checkpoint", "no/where", "--schedules", 5],
        "cannot write no/where: there is no folder no",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_one_line(cli: Cli, case: str) -> None:
    arguments, expected = WRONG[case]
    assert expected in cli("explore", NAME, *arguments).error


def test_unknown_scenario_suggests_the_closest(cli: Cli) -> None:
    assert "did you mean delete-under-srcu?" in cli("explore", "delete-srcu").error
    assert "none.toml: No such file" in cli("explore", "none.toml").error


def test_recorded_trace_is_too_long(cli: Cli) -> None:
    assert cli("explore", "q35-boot").error.endswith(
        "q35-boot: a recorded trace is one long run, too long to search its orders;"
        " explore a scenario, or let 'memslots run' run the trace with other seeds"
    )


def test_scenario_is_not_overwritten(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(HOLDS)
    for option in ("--checkpoint", "--schedule"):
        assert "will not overwrite" in cli("explore", path, option, path).error
    assert path.read_text() == HOLDS


def test_scheduler_that_does_not_answer_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("scenarios.explorer.engines.REACHED_WITHIN", "0.2s")
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        arguments = ("--engine", "dask", "--scheduler", address)
        error = cli("explore", NAME, *arguments).error
    assert f"no Dask scheduler answers at {address!r}" in error


@pytest.fixture
def kept(cli: Cli) -> Path:
    """A checkpoint of a search that its limit of time has ended."""
    path = Path("kept")
    arguments = ("--schedules", 1 << 40, "--time-limit", 0.05, "--checkpoint", path)
    assert cli("explore", NAME, *arguments).code == 3
    assert path.exists()
    return path


def test_other_file_is_no_checkpoint(cli: Cli, kept: Path) -> None:
    data = kept.read_bytes()
    for content in (b"", b"{}", data[: len(data) // 2], bytes(99), b"schema = 1\n"):
        kept.write_bytes(content)
        error = cli("explore", NAME, "--resume", kept).error
        assert "kept: not a checkpoint" in error
    kept.write_bytes(data)
    assert cli("explore", NAME, "--resume", kept, "--time-limit", 0.05).code == 3


def test_checkpoint_of_something_else_is_refused(
    cli: Cli, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = cli("explore", "teardown", "--resume", kept).error
    assert f"is of {NAME!r}, not of 'teardown'" in error
    copy = Path("copy.toml")
    copy.write_text(cli("describe", NAME, "--format", "file").out + "readers = 3\n")
    copy.write_text(copy.read_text().replace("readers = 2\n", "", 1))
    assert "another version of" in cli("explore", copy, "--resume", kept).error
    monkeypatch.setattr(checkpoint, "TOOL_VERSION", "99")
    assert "not 99" in cli("explore", NAME, "--resume", kept).error
