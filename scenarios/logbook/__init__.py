"""The log of a run: JSON Lines, one event a line, a header first and `run_ended` last.

- `schema`: the version, and how an event becomes a line and a line an event.
- `writer`: writes a log while the run goes on, through structlog.
- `reader`: reads one back, whoever wrote it.
- `check`: judges one from the log alone.
"""
