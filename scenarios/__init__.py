"""What is tried, in which order, judged, recorded, printed.

- `traces`: calls of a recorded VMM.
- `catalogue`: scenarios that come with the package.
- `scenario`: what a scenario is; `scenario_file` reads one.
- `strategies`: who goes next.
- `checkers`: what counts as wrong.
- `logbook`: the log of a run, written and read.
- `planner`: from what the user names to a plan; `trace_plan` makes one of a trace,
  `trace_account` says what became of its other lines.
- `machine`: a VM and its tasks, built from a scenario.
- `runner`: a scenario, a strategy and checkers make a run.
- `schedule_file`: the order of a run, kept to be replayed.
- `cli`: the command line, one module a command.
- `errors`, `tracepoints`, `version`: what this room raises, tells the trace, is.
"""
