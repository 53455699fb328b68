"""The log of a run: JSON Lines, one event a line, a header first and `run_ended` last.

- `schema`: the version, and how an event becomes a line and a line an event.
- `writer`: writes a log while the run goes on, through structlog.
- `operations`: counts which operation a record belongs to.
- `lines`: cuts a file, or standard input, gzipped or not, into lines.
- `reader`: reads one back, whoever wrote it.
- `json_schema`: the format as a JSON Schema.
- `check`: judges one from the log alone.
- `query`: answers SQL over the tables of `views`; `short_questions` needs no SQL.
- `statistics`: counts what is in one.
- `parting`: where two of them part.
"""
