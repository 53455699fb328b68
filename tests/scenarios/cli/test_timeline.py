"""`memslots timeline`: which file it writes, and what it refuses."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from scenarios.report.writer import FORMATS
from tests.scenarios.cli.calling import Cli
from tests.scenarios.logbook.runs import lines_of, logged, plans, write_lines


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    for name in ("holds", "violation"):
        logged(plans()[name], folder / f"{name}.jsonl")
    return folder


@pytest.fixture
def log(logs: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.v1.jsonl"
    path.write_bytes((logs / "violation.jsonl").read_bytes())
    return path


def test_html_beside_the_log(cli: Cli, log: Path) -> None:
    done = cli("timeline", log)
    assert (done.code, done.out) == (0, "")
    page = log.with_name("run.v1.html")
    assert page.read_text().startswith("<!doctype html>")
    told = done.err.splitlines()
    events = len(lines_of(log)) - 2
    assert told[0] == f"memslots: {page}: all {events} events"
    assert told[1].startswith("memslots: violation of ")
    assert f": {page}#s" in told[1]


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_by_name_and_by_suffix(cli: Cli, log: Path, name: str) -> None:
    way = FORMATS[name]  # type: ignore[index]
    one, other = log.with_name(f"one{way.suffix}"), log.with_name("other")
    assert cli("timeline", log, "-o", one, "-q").code == 0
    done = cli("timeline", log, "--output", other, "--format", name, "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", ["text", "mermaid"])
def test_what_is_read_in_a_terminal_is_printed(cli: Cli, log: Path, name: str) -> None:
    before = sorted(log.parent.iterdir())
    done = cli("timeline", log, "--format", name)
    assert (done.code, done.err) == (0, "")
    assert done.out.replace("\n", "").isprintable()
    assert len(done.out.splitlines()) > 20
    assert sorted(log.parent.iterdir()) == before


def test_steps_and_events_can_be_chosen(cli: Cli, log: Path) -> None:
    options = ("--format", "chrome-json", "-o", "-")
    done = cli("timeline", log, *options, "--from", 100, "--to", 200, "--max-events", 9)
    notice = json.loads(done.out)["otherData"]["notice"]
    assert notice.startswith("showing 9 of ")
    assert notice.endswith(": as asked for")


def test_a_file_that_exists_is_kept(cli: Cli, log: Path) -> None:
    path = log.with_name("kept.html")
    path.write_text("mine")
    error = cli("timeline", log, "-o", path).error
    assert error == (
        f"memslots: error: will not overwrite {path}: give --force, or another file"
        " with -o"
    )
    assert path.read_text() == "mine"
    assert cli("timeline", log, "-o", path, "--force", "-q").code == 0
    assert path.read_text() != "mine"


def test_the_log_is_never_overwritten(cli: Cli, log: Path) -> None:
    before = log.read_bytes()
    error = cli("timeline", log, "-o", log, "--format", "html", "--force").error
    assert error.endswith("it is the log")
    assert log.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-o", "no/such/folder.html"), "No such file or directory"),
        (("-o", "--force"), "--output needs a file, got --force"),
        (("-o", "a.docx"), "cannot tell the format of a.docx"),
        (("--from", "9", "--to", "3"), "must not be after the last"),
        (("--from", "999999999"), "no event in steps 999999999 to the end"),
        (("--format", "mermaid", "--max-events", "201"), "200 events at most, not 201"),
        (("--max-events", "0"), "--max-events"),
        (("--format", "pdf"), "--format"),
        (("--from", "-1"), "--from"),
    ],
)
def test_bad_options(cli: Cli, log: Path, options: tuple[str, ...], text: str) -> None:
    done = cli("timeline", log, *options)
    assert done.code == 2
    assert not done.out
    assert text in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    "content", [b"", b"{}\n", b'{"a":1}\n{"b":2}\n', b"\x1f\x8b\x08nonsense", b"[1]\n"]
)
def test_what_is_no_log(cli: Cli, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "no.jsonl"
    path.write_bytes(content)
    assert str(path) in cli("timeline", path).error
    assert not path.with_suffix(".html").exists()


def test_a_log_that_contradicts_itself(cli: Cli, log: Path) -> None:
    lines = lines_of(log)
    kept = [line for line in lines if line["event"] != "address_space_made"]
    for seq, line in enumerate(kept):
        line["seq"] = seq
    write_lines(log, kept)
    assert "contradicts those before it" in cli("timeline", log).error


def test_a_log_that_was_cut_off_can_be_drawn(cli: Cli, log: Path) -> None:
    log.write_bytes(log.read_bytes()[:20_000])
    done = cli("timeline", log, "--format", "text")
    assert done.code == 0


def test_names_from_a_log_do_no_harm_in_a_terminal(cli: Cli, log: Path) -> None:
    lines = lines_of(log)
    for line in lines:
        line["actor"] = line["actor"].replace("vcpu0", "\x1b[31m\u202e<b>")
    write_lines(log, lines)
    out = cli("timeline", log, "--format", "text").out
    assert out.replace("\n", "").isprintable()
    assert "\ufffd[31m\ufffd<b>" in out


def test_formats_are_not_imported_before_they_are_needed() -> None:
    code = "import scenarios.cli.main, sys; print('scenarios.report' in sys.modules)"
    import subprocess  # noqa: PLC0415

    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert done.stdout == "False\n"


def test_a_log_that_is_gzipped(cli: Cli, log: Path) -> None:
    packed = log.with_name("packed.jsonl.gz")
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert cli("timeline", packed, "-q").code == 0
    assert cli("timeline", log, "-q").code == 0
    page, plain = log.with_name("packed.html"), log.with_name("run.v1.html")
    assert page.read_bytes() == plain.read_bytes()
