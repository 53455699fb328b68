"""The protocol with one step left out or exchanged, and who notices.

- `mutant`: what is said of each.
- `steps`: the steps of the protocol, in their order.
- `families`: the mutants, a module for each part of the protocol.
- `registry`: finds them, by id or in a file of somebody's own.
- `trying`: searches for the shortest order that shows one, and tries its twin.
- `schedules`: those orders, kept.
"""
