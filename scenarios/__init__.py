"""What is tried, in which order, judged, recorded, printed.

- `traces`: calls of a recorded VMM.
- `catalogue`: scenarios that come with the package.
- `scenario`: what a scenario is, `calls` what its writers call; `scenario_file` reads
  one, `scenario_rules` refuses what cannot be done.
- `strategies`: who goes next.
- `checkers`: what counts as wrong.
- `logbook`: the log of a run, written and read.
- `report`: pictures and words made from the records of a run.
- `planner`: from what the user names to a plan; `trace_plan` makes one of a trace,
  `trace_order` finds the order of calls that overlapped, `trace_account` says what
  became of its other lines.
- `machine`: a VM and its tasks, built from a scenario; `kvm_thread` makes the calls of
  one, `pause` keeps its vCPUs out of KVM for a while, `pace` from taking nearly all
  steps.
- `plan`: what is to be run, and how; `kinds` lets it keep slots in arrays.
- `runner`: a scenario, a strategy and checkers make a run.
- `notebook`: a log that shows itself and answers as a relation.
- `parity`: the model against the running kernel, call by call.
- `schedule_file`: the order of a run, kept to be replayed.
- `cli`: the command line, one module a command.
- `errors`, `tracepoints`, `version`: what this room raises, tells the trace, is.
"""
