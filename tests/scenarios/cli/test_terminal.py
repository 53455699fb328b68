"""What is at the other end: a pipe that closes, a full disk, a terminal, a user."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from scenarios.cli import terminal
from tests.scenarios.cli.calling import (
    ENDLESS,
    HOLDS,
    PROGRAM,
    SLOT,
    VCPUS,
    VIOLATES,
    VM,
    Cli,
    Outcome,
    environment,
    prepared_program,
    program,
    update,
    writer,
)

ESCAPE = "\x1b"
SECONDS = re.compile(r"in [\d.]+ s$", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a scenario of either verdict and a log."""
    (tmp_path / "holds.toml").write_text(HOLDS)
    (tmp_path / "violates.toml").write_text(VIOLATES)
    return tmp_path


# Nobody reads, or nothing can be written.

READ_BY_NOBODY = [
    (["--help"], 0),
    (["list"], 0),
    (["describe", "q35-boot", "--format", "file"], 0),
    (["run", "holds.toml"], 0),
    (["run", "violates.toml"], 1),
    (["run", "violates.toml", "--format", "json"], 1),
]


def ids(value: object) -> str | None:
    return " ".join(map(str, value)) if isinstance(value, list) else None


def started(arguments: list[str], folder: Path, **options: Any) -> Outcome:
    """Run the program with streams of its own."""
    done = subprocess.run(  # noqa: S603 - our own program
        [*PROGRAM, *arguments],
        cwd=folder,
        env=environment(),
        check=False,
        text=True,
        **({"stderr": subprocess.PIPE} | options),
    )
    return Outcome(done.returncode, done.stdout or "", done.stderr or "")


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code"), READ_BY_NOBODY, ids=ids)
def test_closed_pipe_is_silent_and_keeps_the_exit_code(
    folder: Path, arguments: list[str], code: int
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        outcome = started(arguments, folder, stdout=writing)
    finally:
        os.close(writing)
    assert (outcome.code, outcome.err) == (code, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["rn"], 2), (["run", "none.toml"], 2), (["run", "notes.strace", "-v"], 0)],
    ids=ids,
)
def test_talk_that_nobody_hears_keeps_the_exit_code(
    folder: Path, arguments: list[str], code: int
) -> None:
    (folder / "notes.strace").write_text(VM + "strange\n" + update())
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        for stderr in (writing, full):
            options = {"stdout": subprocess.PIPE, "stderr": stderr}
            outcome = started(arguments, folder, **options)
            assert outcome.code == code
            assert outcome.out.count("\nholds: ") == (code == 0)
    finally:
        os.close(writing)
        os.close(full)


@pytest.mark.slow
def test_first_line_can_be_taken(folder: Path) -> None:
    """As in ``memslots list | head -1``."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [*PROGRAM, "list"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"name ")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["list"], ["run", "violates.toml", "--format", "json"]], ids=ids
)
def test_output_to_a_full_disk_is_one_line(folder: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        outcome = started(arguments, folder, stdout=full)
    assert outcome.code == 2
    assert outcome.line == (
        "memslots: error: cannot write the output: No space left on device"
    )


@pytest.mark.slow
def test_closed_streams_are_no_error(folder: Path) -> None:
    close = "import os\nos.close(1), os.close(2)\nsys.stdout = sys.stderr = None"
    for scenario, code in (("holds.toml", 0), ("violates.toml", 1), ("none.toml", 2)):
        command = prepared_program(close, "run", scenario, "--log", "own.log")
        done = subprocess.run(  # noqa: S603 - our own program
            command, cwd=folder, env=environment(), check=False
        )
        assert done.returncode == code
    assert program("check", "own.log", cwd=folder).code == 1


@pytest.mark.slow
def test_disk_that_fills_during_the_run_keeps_what_was_written(folder: Path) -> None:
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (99_999,) * 2)"
    command = prepared_program(limit, "run", "q35-boot", "--log", "own.log")
    done = subprocess.run(  # noqa: S603 - our own program
        command,
        cwd=folder,
        env=environment(),
        capture_output=True,
        check=False,
        text=True,
    )
    error = Outcome(done.returncode, done.stdout, done.stderr).error
    assert "cannot write the log own.log: File too large" in error
    outcome = program("check", "own.log", cwd=folder)
    assert outcome.code == 3
    assert "the log is cut off after line" in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_that_the_output_lacks_are_no_error(
    folder: Path, encoding: str
) -> None:
    (folder / "böot.strace").write_text(VM + "\x07\n" + update())
    env = environment(PYTHONIOENCODING=encoding, PYTHONUTF8="1")
    for arguments in (["--help"], ["run", "böot.strace"]):
        done = subprocess.run(  # noqa: S603 - our own program
            [*PROGRAM, *arguments],
            cwd=folder,
            env=env,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0
        assert b"Traceback" not in done.stderr


# A terminal.


def on_terminal(*arguments: str, folder: Path, **variables: str) -> tuple[int, str]:
    """Exit code, and all that the program prints to a terminal."""
    ours, its = os.openpty()
    with subprocess.Popen(  # noqa: S603 - our own program
        [*PROGRAM, *arguments],
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    ) as process:
        os.close(its)
        printed = b""
        with open(ours, "rb", buffering=0) as reader:  # noqa: PTH123 - a descriptor
            while block := _read(reader):
                printed += block
    return process.returncode, printed.decode().replace("\r\n", "\n")


def _read(terminal: IO[bytes]) -> bytes:
    try:
        return terminal.read(1 << 16)
    except OSError:  # the other end is closed
        return b""


@pytest.mark.slow
def test_terminal_gets_colours(folder: Path) -> None:
    code, printed = on_terminal("run", "violates.toml", folder=folder)
    assert code == 1
    assert f"{ESCAPE}[1mtiny" in printed
    assert f"{ESCAPE}[31mviolation" in printed


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
@pytest.mark.parametrize(
    "arguments", [["run", "violates.toml"], ["--help"], ["run", "--sed"]], ids=ids
)
def test_who_wants_no_colours_gets_no_codes_at_all(
    folder: Path, arguments: list[str], variables: dict[str, str]
) -> None:
    _, printed = on_terminal(*arguments, folder=folder, **variables)
    assert printed
    assert ESCAPE not in printed


def test_pipe_gets_no_codes_unless_they_are_asked_for(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ESCAPE not in cli("run", "violates.toml").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert f"{ESCAPE}[31mviolation" in cli("run", "violates.toml").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert ESCAPE not in cli("run", "violates.toml").out


def test_json_has_no_codes_even_if_they_are_asked_for(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cli("run", "violates.toml", "--format", "json").json["verdict"]


def test_pipe_gets_whole_lines_however_narrow_the_terminal(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = [cli("list").out, cli("describe", "q35-boot").out]
    monkeypatch.setenv("COLUMNS", "40")
    assert [cli("list").out, cli("describe", "q35-boot").out] == wide
    assert "\n  retired-set-quiet " in cli("run", "violates.toml").out


@pytest.mark.slow
def test_narrow_terminal_breaks_lines_between_words_only(folder: Path) -> None:
    many = HOLDS.replace("tiny", "x" * 50) + writer("EEXIST", 4_000, "hotplug")
    (folder / "many.toml").write_text(many)
    narrow = {"COLUMNS": "43", "NO_COLOR": "1"}
    _, wide = on_terminal(
        "run", "many.toml", folder=folder, COLUMNS="999", NO_COLOR="1"
    )
    _, printed = on_terminal("run", "many.toml", folder=folder, **narrow)
    assert SECONDS.sub("", printed).split() == SECONDS.sub("", wide).split()
    longest = [line for line in printed.splitlines() if len(line) > 43]
    whole = ("Replay: ", "Picture: ")
    assert all(len(line.split()) == 1 or line.startswith(whole) for line in longest)
    # Rows of the table are whole.
    rows = [line for line in printed.splitlines() if line.startswith("results-match")]
    assert [row.split() for row in rows] == [["results-match", "4,001", "4,000"]]


@pytest.mark.slow
def test_narrow_terminal_shows_the_catalogue(folder: Path) -> None:
    code, printed = on_terminal("list", folder=folder, COLUMNS="40", NO_COLOR="1")
    assert code == 0
    assert all(len(line) <= 40 for line in printed.splitlines())
    assert "\nq35-boot  trace  6\n    39 memory-region calls" in printed
    long = "\nchange-of-a-page-under-an-invalid-slot\n    race  "
    assert long in printed


def test_long_words_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    console = terminal.stdout()
    path = "/a/path-that-is/longer/than-any/line-of-this/terminal"
    assert terminal.hang(console, "  log  ", path).split() == ["log", path]
    assert terminal.hang(console, "head: ", "one two three four five six") == (
        "head: one two three four five\n      six"
    )


# A user who has waited long enough.


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["controlled", "trio"])
def test_interrupted_run_keeps_a_log_that_is_inconclusive(
    tmp_path: Path, mode: str
) -> None:
    (tmp_path / "endless.toml").write_text(ENDLESS)
    log = tmp_path / "own.log"
    # A shell that starts tests in the background may have the signal ignored.
    listen = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    command = prepared_program(
        listen, "run", "endless.toml", "--log", "own.log", "--mode", mode
    )
    with subprocess.Popen(  # noqa: S603 - our own program
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None and not _has_grown(log):
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    outcome = Outcome(process.returncode, out, err)
    assert outcome.code == 130
    assert not outcome.out
    assert outcome.line == "memslots: interrupted; the log until then is in own.log"
    assert b'"ending":"interrupted","crc32":' in log.read_bytes().splitlines()[-1]
    checked = program("check", "own.log", cwd=tmp_path)
    assert checked.code == 3
    assert "inconclusive: the run is not whole: interrupted" in checked.out


def _has_grown(log: Path) -> bool:
    """Whether there is more than the first line."""
    return log.exists() and log.stat().st_size > 10_000


@pytest.mark.slow
def test_endless_scenario_ends_by_its_budget(cli: Cli, tmp_path: Path) -> None:
    short = ENDLESS.replace("5_000_000", "1_000").replace("1_000_000", "1_000")
    assert SLOT in short
    assert VCPUS not in short
    (tmp_path / "endless.toml").write_text(short)
    assert cli("run", "endless.toml").code == 3


def test_interrupt_without_a_log_is_one_line(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scenarios.cli.drawing.run", interrupted)
    outcome = cli("run", "holds.toml")
    assert outcome.code == 130
    assert not outcome.out
    assert outcome.line == "memslots: interrupted"


def test_closed_streams_swallow_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    terminal.prepare()
    assert sys.stderr.writable()
    terminal.say("nobody hears this")
    sys.stderr.close()
