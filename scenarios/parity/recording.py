"""A file of calls and answers that `memslots run` can read."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from scenarios.errors import InputError
from scenarios.parity.compare import Exchange
from scenarios.parity.lines import line_of


class Recording:
    """Calls that are written as they are answered.

    Args:
        path: Where; an existing file is overwritten, folders are made if need be.

    Raises:
        InputError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with suppress(FileExistsError):  # it may be a file, which is told below
                path.parent.mkdir(parents=True)
            self._file = path.open("w")
        except OSError as error:
            raise self._told(error) from error

    def __enter__(self) -> Self:
        """Use it, and close it at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what is left; whatever happened, every line is whole."""
        try:
            self._file.close()
        except OSError as error_:
            if error is None:
                raise self._told(error_) from error_

    def write(self, lines: Iterable[str]) -> None:
        """Write whole lines.

        Raises:
            InputError: The disk is full, or the like.
        """
        try:
            self._file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            raise self._told(error) from error

    def add(self, exchange: Exchange) -> None:
        """Write one call with its answer.

        Raises:
            InputError: The disk is full, or the like.
        """
        self.write([line_of(exchange.call, exchange.kernel)])

    def _told(self, error: OSError) -> InputError:
        return InputError(
            f"cannot write {self.path}: {error.strerror}; name another file"
        )
