"""The commands, and how errors become exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.text import Text

from scenarios.cli import terminal
from scenarios.cli.exit_codes import DIVERGED, INTERNAL, INTERRUPTED, USAGE
from scenarios.errors import InputError
from scenarios.version import VERSION

EPILOGUE = """\
Exit codes: 0 holds; 1 violation; 2 usage, scenario or input error; 3 inconclusive; \
4 replay diverged from its recording; 5 no kernel to ask; 70 internal error; \
130 interrupted.

Start with `memslots run q35-boot`.
"""

app = App(
    name="memslots",
    help="Run, break and check the way KVM updates guest memory slots under SRCU.",
    help_epilogue=EPILOGUE,
    version=VERSION,
    version_flags=("--version",),
    result_action="return_value",
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
    help_format="plaintext",
    error_formatter=lambda error: Text(
        terminal.one_line(f"memslots: error: {' '.join(str(error).split())}")
    ),
)
COMMANDS = {
    "list": ("catalogue:list_scenarios", "Show the scenarios of the catalogue."),
    "describe": ("catalogue:describe", "Say what a scenario or a trace does."),
    "run": ("run:run", "Run a scenario or a recorded trace once and judge it."),
    "explore": ("explore:explore", "Search the orders in which tasks can run."),
    "mutants": ("mutants:app", "Break the protocol on purpose, and see who notices."),
    "replay": ("replay:replay", "Make a run happen again, step by step."),
    "check": ("check:check", "Judge logs that runs have left, from the logs alone."),
    "schema": ("schema:schema", "Print the JSON Schema of a log."),
    "explain": ("explain:explain", "Say in words what a log shows, or what a rule is."),
    "timeline": ("timeline:timeline", "Draw a log: one HTML file to step through."),
    "log": ("log:app", "Ask a log, count what is in it, compare two."),
    "parity": ("parity:parity", "Ask the running kernel and the model the same."),
}
"""Every command: where it lives below this package, and what it does."""

for name, (place, text) in COMMANDS.items():
    if place.endswith(":app"):  # commands of its own; they say how they want to look
        app.command(f"scenarios.cli.{place}", name=name, help=text)
        continue
    # Only their help has more than single lines; to render it takes 40 ms to import.
    app.command(f"scenarios.cli.{place}", name=name, help=text, help_format="markdown")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What stands behind the program's name; by default `sys.argv`.

    Returns:
        The exit code.
    """
    terminal.prepare()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(
            # cyclopts takes a lone hyphen for an option.
            ["./-" if each == "-" else each for each in given],
            console=terminal.stdout(wrapped=True),
            error_console=terminal.stderr(),
        )
    except CycloptsError:
        return USAGE  # cyclopts has said what is wrong
    except KeyboardInterrupt as interrupt:
        terminal.say("; ".join(["interrupted", *map(str, interrupt.args)]))
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - every error gets its code
        return _exit_code(error)
    return code if isinstance(code, int) else 0


def _exit_code(error: Exception) -> int:
    if isinstance(error, InputError):
        terminal.say(f"error: {error}")
        return USAGE

    # Not needed for --help.
    from scenarios.strategies.replay import ReplayDivergedError  # noqa: PLC0415

    if isinstance(error, ReplayDivergedError):
        terminal.say(f"the replay diverged: {error}")
        return DIVERGED

    import traceback  # noqa: PLC0415

    traceback.print_exception(error)
    terminal.say("internal error: please report this bug with the lines above")
    return INTERNAL


if __name__ == "__main__":
    sys.exit(main())
