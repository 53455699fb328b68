"""What the program's exit codes mean."""

from __future__ import annotations

HOLDS = 0
VIOLATION = 1
USAGE = 2
INCONCLUSIVE = 3
DIVERGED = 4
NO_KERNEL = 5
INTERNAL = 70
INTERRUPTED = 130

BY_VERDICT = {"holds": HOLDS, "violation": VIOLATION, "inconclusive": INCONCLUSIVE}
