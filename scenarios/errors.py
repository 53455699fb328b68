"""What the user can mend: shown as one line, exit code 2."""

from __future__ import annotations


class InputError(Exception):
    """Something that was given cannot be used; the text says what and the way out."""
