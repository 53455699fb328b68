"""The command line: one module a command, imported when it is called.

- `main`: the commands, and how errors become exit codes.
- `catalogue`: `list` and `describe`.
- `run`, `replay`, `check`: those commands.
- `output`: results as text and as JSON.
- `exit_codes`: what they mean.
- `terminal`: standard output and error, whatever is at their other end.
"""
