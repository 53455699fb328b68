"""Who goes next: one small class each, and the only door for chance.

- `round_robin`: everyone in turn.
- `random_walk`: anyone, with equal chance.
- `replay`: as it was before.
- `by_name`: the strategy that a name on the command line means.
"""
