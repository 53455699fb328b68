"""The page that records the score, docs/reference/mutation-score.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.architecture.pages import DOCS
from tests.mutation.survivors import Survivor, known

PAGE = DOCS / "reference" / "mutation-score.md"


def survivors(known: Iterable[Survivor]) -> list[str]:
    """Each survivor with its reason, by module."""
    by_module: dict[str, list[Survivor]] = {}
    for each in known:
        by_module.setdefault(each.module, []).append(each)
    lines: list[str] = []
    for module, of_module in by_module.items():
        lines += [f"### {module}", "", "| in | change | kind | why |"]
        lines += ["| --- | --- | --- | --- |"]
        lines += [_row(each) for each in of_module]
        lines += [""]
    return lines[:-1]


def _row(survivor: Survivor) -> str:
    changes = f"{_code(survivor.before)} → {_code(survivor.after)}"
    kind = "equivalent" if survivor.equivalent else "survives"
    where = _code(survivor.function) if survivor.function else "the module"
    return f"| {where} | {changes} | {kind} | {survivor.why} |"


def _code(text: str) -> str:
    """Code in a cell of a table."""
    quoted = f"`` {text} ``" if "`" in text else f"`{text}`"
    return quoted.replace("|", "\\|")


def with_part(text: str, name: str, lines: Iterable[str]) -> str:
    """The text of the page with one of its recorded parts as it should be.

    Args:
        text: The page.
        name: Of the part's markers.
        lines: What stands between them.

    Raises:
        ValueError: It lacks the markers.
    """
    begin, end = f"<!-- recorded: {name} -->\n", f"<!-- end: {name} -->\n"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"the markers of {name} are missing")
    part = "".join(f"{line}\n" for line in lines)
    return f"{before}{begin}\n{part}\n{end}{after}"


def record(table: Sequence[str], every: int, known: Iterable[Survivor]) -> None:
    """Write the page.

    Args:
        table: The score.
        every: Of how many mutants one was judged.
        known: The survivors.
    """
    which = "All mutants" if every == 1 else f"Of every {every} mutants the first"
    judged = f"{which} of each module: `python -m tests.mutation --every {every}`."
    text = with_part(PAGE.read_text(), "score", [judged, "", *table])
    PAGE.write_text(with_part(text, "survivors", survivors(known)))


def main() -> None:
    """Show the list of survivors as it is now; the score stays as it was measured."""
    text = PAGE.read_text()
    PAGE.write_text(with_part(text, "survivors", survivors(known())))


if __name__ == "__main__":
    main()
