"""The command line: one module a command, imported when it is called.

- `main`: the commands, and how errors become exit codes.
- `catalogue`: `list` and `describe`.
- `run`, `explore`, `replay`, `check`, `parity`: those commands.
- `output`: results as text and as JSON; `findings`: those of a search.
- `keeping`: schedules that commands leave behind.
- `exit_codes`: what they mean.
- `terminal`: standard output and error, whatever is at their other end.
"""
