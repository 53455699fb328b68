"""Answers questions about a log, in SQL.

DuckDB reads the log into a table of its memory; only then is it given the question, and
by then it can reach no file, load no extension and change no setting. A question is one
SELECT.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from scenarios.errors import InputError
from scenarios.logbook.lines import (
    GZIP,
    STDIN,
    DamagedError,
    TooLongError,
    blocks_of,
    whole_lines,
)
from scenarios.logbook.reader import LogReader
from scenarios.logbook.schema import LAST
from scenarios.logbook.views import LINE, VIEWS, field_types

if TYPE_CHECKING:
    import duckdb

FIELDS = "fields"
"""The column of `events` that has all fields of an event as one JSON object."""

EVENTS = "events"

_MAX_LINE_BYTES = 16 << 20
_BEFORE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    "temp_directory": "",
}
_REFUSED = frozenset(
    {
        "arrow_scan",
        "arrow_scan_dumb",
        "create_external_resource",
        "deregister_external_resource",
        "destroy_external_resource",
        "json_execute_serialized_sql",
        "pandas_scan",
        "python_arrow_scan",
        "python_map_function",
        "query",
        "query_table",
        "register_external_resource",
        "register_external_resource_type",
    }
)
"""Functions that take addresses of this process, or another question as text."""

_AFTER = (
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


class Answer:
    """The rows of an answer; they can be read once.

    Args:
        cursor: Has just been asked.

    Attributes:
        columns: Their names; no two are the same.
        numeric: Which columns hold numbers.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        described = cursor.description or []
        self.columns = _unlike([each[0] for each in described])
        self.numeric = tuple(_is_number(str(each[1])) for each in described)
        self._cursor = cursor

    def rows(self, at_once: int = 10_000) -> Iterator[tuple[Any, ...]]:
        """Yield the rows.

        Raises:
            InputError: DuckDB cannot work them out; the text says why.
        """
        import duckdb  # noqa: PLC0415 - it is loaded already

        try:
            while rows := self._cursor.fetchmany(at_once):
                yield from rows
        except duckdb.Error as error:
            raise InputError(f"the SQL failed: {_first_line(error)}") from error


def ask(path: Path, sql: str, parameters: Sequence[object] = ()) -> Answer:
    """Ask a log.

    Args:
        path: The log, or what it was compressed to by gzip; `-` is standard input.
        sql: One SELECT over `events`, `VIEWS`, and ``slots_at(seq)``.
        parameters: What stands for ``$1``, ``$2``, ... in it.

    Raises:
        InputError: The log cannot be read, or the question is none, or asks for more
            than the log.
    """
    return Database.of(path, sql).ask(sql, parameters)


@attrs.frozen
class Database:
    """A log in DuckDB's memory, as far as some questions need it.

    Attributes:
        connection: It can reach no file, load no extension and change no setting.
    """

    connection: duckdb.DuckDBPyConnection

    @classmethod
    def of(cls, path: Path, *questions: str) -> Database:
        """Load what these questions name of a log.

        One question gets the same answer, row by row, from the same log; several are
        answered on all processors, and should say in which order they want their rows.

        Raises:
            InputError: The log cannot be read, or a question is no SELECT.
        """
        import duckdb  # noqa: PLC0415 - 0.1 s that only a question needs

        connection = duckdb.connect(":memory:", config=_BEFORE)
        connection.execute("SET enable_progress_bar = false")
        try:
            for sql in questions:
                _must_be_one_select(connection, sql)
            reserved = _reserved(connection)
            named = {word for sql in questions for word in _named(sql, reserved)}
            wanted = _with_those_below({*VIEWS} & named)
            types = field_types()
            columns = {name for view in wanted for name in VIEWS[view].fields}
            if EVENTS in named:
                columns |= named & types.keys()
            whole = any(_wants_whole_events(sql) for sql in questions)
            with _as_file(path) as file:
                _load(connection, path, file, {n: types[n] for n in columns}, whole)
            several = len(questions) > 1
            kind = "TABLE" if several else "VIEW"
            _make_views(connection, kind, named & types.keys(), wanted, whole=whole)
            if not several:  # rows that no ORDER BY orders are in the log's order
                connection.execute("SET threads = 1")
            for setting in _AFTER:
                connection.execute(setting)
        except duckdb.Error as error:
            raise InputError(f"{path}: {_first_line(error)}") from error
        return cls(connection)

    def ask(self, sql: str, parameters: Sequence[object] = ()) -> Answer:
        """Ask one of the questions that it was made for.

        Raises:
            InputError: It cannot be answered; the text says what could be.
        """
        import duckdb  # noqa: PLC0415 - it is loaded already

        try:
            return Answer(_execute(self.connection, sql, parameters))
        except duckdb.Error as error:
            raise InputError(_told(error, sql)) from error

    def relation(self, sql: str) -> duckdb.DuckDBPyRelation:
        """One of the questions that it was made for, answered when it is used.

        Raises:
            InputError: It cannot be answered; the text says what could be.
        """
        import duckdb  # noqa: PLC0415 - it is loaded already

        try:
            return self.connection.sql(sql)
        except duckdb.Error as error:
            raise InputError(_told(error, sql)) from error


def _execute(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()
) -> duckdb.DuckDBPyConnection:
    """Let another thread work on what may take long, so that Ctrl-C ends it."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        try:
            return pool.submit(connection.execute, sql, list(parameters)).result()
        except KeyboardInterrupt:
            connection.interrupt()
            raise


_WAY_OUT = "give one SELECT; memslots log query --help has examples"


def _must_be_one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse whatever is not one SELECT.

    Raises:
        InputError: The text says what it is.
    """
    import duckdb  # noqa: PLC0415 - it is loaded already

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise InputError(_told(error, sql)) from error
    kinds = [each.type.name for each in statements]
    if kinds != ["SELECT"]:
        given = " and ".join(kind.replace("_", " ") for kind in kinds) or "nothing"
        raise InputError(f"a log can only be asked, not {given}; {_WAY_OUT}")
    refused = sorted(_REFUSED & {name.lower() for name in re.findall(r"\w+", sql)})
    called = [n for n in refused if re.search(rf'\b{n}"?\s*\(', sql, re.IGNORECASE)]
    if called:
        raise InputError(f"the SQL asks for more than the log: {called[0]}")


def _is_number(kind: str) -> bool:
    numbers = ("NUMBER", "FLOAT", "DOUBLE", "DECIMAL")
    return kind.startswith(numbers) or kind.endswith(("INT", "INTEGER"))


def _words(sql: str) -> set[str]:
    """Every word of a question that is no text."""
    return {word.lower() for word in re.findall(r"\w+", re.sub(r"'[^']*'", "", sql))}


def _named(sql: str, reserved: frozenset[str]) -> set[str]:
    """What may be the name of something in it; reserved words are only if quoted."""
    quoted = {word.lower() for word in re.findall(r'"(\w+)"', sql)}
    return (_words(sql) - reserved) | quoted


def _reserved(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    rows = connection.execute(
        "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'"
    ).fetchall()
    return frozenset(row[0] for row in rows)


def _wants_whole_events(sql: str) -> bool:
    words = _words(sql)
    if EVENTS not in words:
        return False
    implied = {FIELDS, "columns", "describe", "summarize", "show"} & words
    counted = re.sub(r"count\s*\(\s*\*\s*\)", "", sql, flags=re.IGNORECASE)
    return bool(implied) or "*" in counted or "select" not in words


def _with_those_below(names: set[str]) -> list[str]:
    """These views, each behind those that it is made from."""
    below = {each for name in names for each in VIEWS[name].views}
    wanted = names | below
    return sorted(wanted, key=lambda name: (bool(VIEWS[name].views), name))


@contextmanager
def _as_file(path: Path) -> Iterator[Path]:
    """The whole lines of a log as a file that can be read twice.

    Raises:
        InputError: It cannot be read.
    """
    try:
        if path != STDIN and _is_plain(path):
            yield path
            return
        with tempfile.NamedTemporaryFile(prefix="memslots-") as copy:
            for lines, half in whole_lines(blocks_of(path)):
                if not half:
                    copy.write(b"\n".join([*lines, b""]))
            copy.flush()
            yield Path(copy.name)
    except OSError as error:
        raise InputError(f"{LogReader(path).name}: {error.strerror}") from error
    except DamagedError as error:
        raise InputError(
            f"{LogReader(path).name}: the gzipped data is damaged: {error}"
        ) from error
    except TooLongError as error:
        raise InputError(f"{LogReader(path).name}: a line is too long") from error


def _is_plain(path: Path) -> bool:
    """Whether it is a file of whole lines."""
    if not path.is_file():
        return not path.exists()  # whoever opens it will say so
    with path.open("rb") as file:
        if file.read(2) == GZIP:
            return False
        file.seek(0, 2)
        if not file.tell():
            return True
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def _load(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    file: Path,
    columns: dict[str, str],
    whole: bool,  # noqa: FBT001 - one of the things to load
) -> None:
    """Make the table ``log``.

    Raises:
        InputError: The file is no log; the text names the line.
    """
    name = LogReader(path).name
    try:
        next(LogReader(file).records(), None)  # it reads the header first
    except InputError as error:
        raise InputError(str(error).replace(str(file), name)) from error
    types = dict(LINE) | columns
    options = (
        "ignore_errors = true, compression = 'none', maximum_object_size = $2,"
        " hive_partitioning = false"
    )
    if whole:
        spec = ", ".join(f'"{column}": "{kind}"' for column, kind in types.items())
        source = (
            f"SELECT s.*, line FROM (SELECT json_transform(json, '{{{spec}}}') AS s,"  # noqa: S608
            f" json AS line FROM read_ndjson_objects($1, {options}))"
        )
    else:
        spec = ", ".join(f"'{column}': '{kind}'" for column, kind in types.items())
        source = (
            f"FROM read_json($1, format = 'newline_delimited', columns = {{{spec}}},"
            f" {options})"
        )
    _execute(
        connection, f"CREATE TABLE log AS {source}", [_literally(file), _MAX_LINE_BYTES]
    )
    _check_places(connection, name)


def _literally(file: Path) -> str:
    """A path in which nothing stands for something else."""
    return re.sub(r"([*?\[])", r"[\1]", str(file.absolute()))


def _check_places(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """See whether every line has its place.

    Raises:
        InputError: A line is missing, is there twice, or is none.
    """
    wrong = connection.execute(
        "SELECT rowid, seq FROM log WHERE seq IS DISTINCT FROM rowid"
        " OR step IS NULL OR actor IS NULL OR event IS NULL ORDER BY rowid LIMIT 1"
    ).fetchone()
    if wrong is None:
        return
    place, seq = wrong
    if seq is not None and seq != place:
        raise InputError(f"{name}:{place + 1}: seq must be {place}, got {seq}")
    raise InputError(f"{name}:{place + 1}: not an event")


def _make_views(
    connection: duckdb.DuckDBPyConnection,
    kind: str,
    named: set[str],
    views: Sequence[str],
    *,
    whole: bool,
) -> None:
    for name in views:
        view = VIEWS[name]
        head = f"MACRO {name}({view.parameter}) AS TABLE" if view.parameter else ""
        _execute(connection, f"CREATE {head or f'{kind} {name} AS'} {view.sql}")
    loaded = {row[0] for row in connection.execute("DESCRIBE log").fetchall()}
    own = [f'"{name}"' for name in sorted(named & loaded)]
    if whole:
        without = ", ".join(f'"{name}": null' for name in LINE)
        own.append(f"json_merge_patch(line, '{{{without}}}') AS {FIELDS}")
    columns = ", ".join([*LINE, *own])
    connection.execute(
        f"CREATE VIEW {EVENTS} AS SELECT {columns} FROM log"  # noqa: S608
        f" WHERE seq > 0 AND event <> '{LAST}'"
    )


def _unlike(names: Sequence[str]) -> tuple[str, ...]:
    """Names of columns, each of which is there once."""
    given: list[str] = []
    for name in names:
        other, number = name, 1
        while other in given:
            other, number = f"{name}_{number}", number + 1
        given.append(other)
    return tuple(given)


def _told(error: Exception, sql: str) -> str:
    """What is wrong with the SQL, and what there is."""
    text = _first_line(error)
    if "disabled" in text or "locked" in text or "external" in text.lower():
        return f"the SQL asks for more than the log: {text}"
    words = _words(sql)
    if "does not exist" in text or "not found" in text:
        views = ", ".join((EVENTS, *(n for n in VIEWS if n != "slots_at")))
        ways = [f"there are {views} and slots_at(seq)"]
        if EVENTS in words:
            ways.append(f"{EVENTS} has {', '.join(LINE)}, {FIELDS} and every field")
        ways += [
            f"{name} has {', '.join(view.columns)}"
            for name, view in VIEWS.items()
            if name in words
        ]
        return f"{text}; {'; '.join(ways)}"
    return f"{text}; {_WAY_OUT}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
