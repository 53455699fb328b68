"""The pages of the documentation, and what happens when their blocks are run.

Blocks of a page are run in its order and in one empty folder, as a reader would:

- ``python`` with ``title=FILE`` is saved under that name; without it, it is run.
- ``toml`` and ``text`` with a title are saved, too.
- ``console`` is run by bash. What it shows is what a reader sees, seconds apart; a
  block that shows nothing is only run. A command that does not exit with 0 is followed
  by ``$ echo $?``.
- ``sh`` and everything else is only shown.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

REPOSITORY_ONLY = re.compile(r"^(make|git|source) ")
"""Commands that set up the repository itself: their blocks are not run."""

OPTIONAL_PROGRAMS = ("jq",)
"""Programs that pages use and that are not everywhere."""

_FENCE = re.compile(r"^```(\w*)(?: title=(\S+))?$")
_SECONDS = re.compile(r"\d+\.\d\d s\b")
_MARK = "\x1e"


@attrs.frozen
class Block:
    """A fenced block.

    Attributes:
        kind: What stands behind the fence: ``python``, ``console``, ...
        title: The file that it is; empty if it is none.
        lines: Its lines.
        place: Index of its first line in the page.
    """

    kind: str
    title: str
    lines: tuple[str, ...]
    place: int

    @property
    def text(self) -> str:
        """Its lines in one."""
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def commands(self) -> list[str]:
        """What a reader types, in a ``console`` block."""
        return [line[2:] for line in self.lines if line.startswith("$ ")]

    @property
    def shows_output(self) -> bool:
        """Whether it says what a reader sees."""
        return len(self.commands) < len(self.lines)


@attrs.frozen
class Done:
    """What a block did.

    Attributes:
        block: Which.
        output: A ``console`` block as it should read; else what was printed.
        codes: Exit code of each command.
    """

    block: Block
    output: tuple[str, ...]
    codes: tuple[int, ...]


def pages() -> list[Path]:
    """Every page that a reader of the project may open."""
    top = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    return [*top, ROOT / "tests" / "README.md", *sorted(DOCS.rglob("*.md"))]


def runnable_pages() -> list[Path]:
    """The pages whose blocks are run."""
    folders = (DOCS / "tutorial", DOCS / "how-to", DOCS / "explanation")
    return [
        ROOT / "README.md",
        *(path for folder in folders for path in sorted(folder.glob("*.md"))),
    ]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    lines = page.read_text().splitlines()
    place = 0
    while place < len(lines):
        fence = _FENCE.match(lines[place])
        place += 1
        if fence is not None:
            end = lines.index("```", place)
            text = tuple(lines[place:end])
            yield Block(fence[1], fence[2] or "", text, place)
            place = end + 1


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def missing_programs(page: Path) -> list[str]:
    """Programs that a page uses and this machine does not have."""
    text = "\n".join(c for block in blocks(page) for c in block.commands)
    return [
        program
        for program in OPTIONAL_PROGRAMS
        if re.search(rf"\b{program}\b", text) and shutil.which(program) is None
    ]


def run_page(page: Path, folder: Path) -> Iterator[Done]:
    """Run the blocks of a page in a folder, which should be empty."""
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text)
        elif block.kind == "python":
            done = _run([sys.executable, "-"], folder, block.text)
            yield Done(block, (done.stdout,), (done.returncode,))
        elif block.kind == "console" and not _is_set_up(block):
            yield _run_console(block, folder)


def without_seconds(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Lines in which no time by the wall clock is left."""
    return tuple(_SECONDS.sub("T s", line) for line in lines)


def _is_set_up(block: Block) -> bool:
    return any(REPOSITORY_ONLY.match(command) for command in block.commands)


def _run_console(block: Block, folder: Path) -> Done:
    script = "".join(
        f"{command}\n__code=$?; printf '{_MARK}%d{_MARK}' $__code; (exit $__code)\n"
        for command in block.commands
    )
    done = _run(["bash"], folder, script)
    parts = done.stdout.split(_MARK)
    outputs, codes = parts[0:-1:2], parts[1::2]
    assert len(codes) == len(block.commands), done.stdout
    shown: list[str] = []
    for command, output in zip(block.commands, outputs, strict=True):
        shown += [f"$ {command}", *output.splitlines()]
    return Done(block, tuple(shown), tuple(map(int, codes)))


def _run(
    command: list[str], folder: Path, text: str
) -> subprocess.CompletedProcess[str]:
    programs = Path(sys.executable).parent
    # Nothing else is passed on: pytest, for one, prints more where CI is set.
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(  # noqa: S603 - blocks of our own pages
        command,
        cwd=folder,
        env=environment,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
