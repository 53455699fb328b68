"""`memslots schema`."""

from __future__ import annotations

from typing import Literal

from scenarios.cli import output
from scenarios.logbook.json_schema import log_schema


def schema(of: Literal["log"], /) -> int:
    """Print the JSON Schema of what memslots writes.

    Args:
        of: `log`: a line of a log.
    """
    schemas = {"log": log_schema}
    output.print_json(schemas[of]())
    return 0
