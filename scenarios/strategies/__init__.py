"""Who goes next: one small class each, and the only door for chance.

- `round_robin`: everyone in turn.
- `random_walk`: anyone, with equal chance; `dice` throws for it.
- `pct`: whoever has the highest priority, and a few demotions.
- `pos`: whichever step has the highest priority; steps that race draw theirs again.
- `urw`: anyone, with the chance that makes all interleavings equally likely.
- `replay`: as it was before.
- `sampler`: what those that draw have in common.
- `lengths`: how long runs are, which some of them have to know; `pilot` measures it.
- `by_name`: the strategy that a name on the command line means.
"""
