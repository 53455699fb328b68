"""Reads a trace from a text, as if it were a file."""

import io
from collections.abc import Callable

import pytest

from scenarios.traces.call import Trace
from scenarios.traces.importer import read_stream


@pytest.fixture(scope="session")
def read() -> Callable[[str], Trace]:
    def read_text(text: str) -> Trace:
        return read_stream(io.BytesIO(text.encode()), source="recorded")

    return read_text
