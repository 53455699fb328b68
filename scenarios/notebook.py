"""A log in a notebook: it shows itself, and answers as a relation or an Arrow table.

    log = Log("run.jsonl")
    log                                             # a picture
    log.query("SELECT actor, steps FROM sections")  # a relation of DuckDB
    pyarrow.table(log.query("SELECT * FROM locks")) # an Arrow table

What a run returns shows itself, too; `log_of` makes a log of it.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from scenarios.logbook.query import Database
from scenarios.logbook.reader import LogReader
from scenarios.logbook.writer import LogWriter
from scenarios.report.inline import EVENTS, as_html
from scenarios.report.window import Wanted
from scenarios.report.writer import picture_of
from scenarios.runner import RunResult, run

if TYPE_CHECKING:
    import duckdb


@attrs.frozen
class Log:
    """A log that a run has left.

    Attributes:
        path: Where it is; it may be gzipped.
    """

    path: Path = attrs.field(converter=Path)

    def query(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Ask it; see `scenarios.logbook.query`.

        What DuckDB answers is also an Arrow stream: ``pyarrow.table(answer)``,
        ``polars.from_arrow(answer)``.

        Raises:
            InputError: It cannot be read, or this cannot be answered.
        """
        return Database.of(self.path, sql).relation(sql)

    def table(self, view: str = "events") -> duckdb.DuckDBPyRelation:
        """All of a view.

        Raises:
            InputError: It cannot be read, or there is no such view.
        """
        name = view.replace('"', '""')
        return self.query(f'SELECT * FROM "{name}"')  # noqa: S608 - it is quoted

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Its events, for whoever knows Arrow: ``pyarrow.table(log)``."""
        return self.table().__arrow_c_stream__(requested_schema)

    def _repr_html_(self) -> str:
        return as_html(picture_of(LogReader(self.path), Wanted(most=EVENTS)))


def log_of(result: RunResult, path: str | PathLike[str]) -> Log:
    """Make a log of a run: it is run again, step by step.

    Args:
        result: What it returned.
        path: Where the log goes; an existing file is overwritten.

    Raises:
        LogError: It cannot be written.
    """
    log = LogWriter(Path(path))
    run(result.plan, log=log, order=result.order)
    return Log(path)
