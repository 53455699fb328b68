"""Scenarios that come with the package: one file each, in the formats users write.

A `.toml` file is a scenario, a `.strace` file a recorded VMM. `entries` finds them; a
new one needs no other line of code.
"""
