"""The version of this program, as logs and schedules name it."""

from __future__ import annotations

VERSION = "0.1.0"
