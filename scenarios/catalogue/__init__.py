"""Scenarios that come with the package: one file each, in the formats users write.

A `.toml` file is a scenario, a `.strace` file a recorded VMM. `entries` finds them, in
this folder and those below; a new one needs no other line of code.

- `selftests`: what the kernel's own tests do, scaled down.
- `incidents`: what was told in public.
- `races`: one race each, small enough to be looked at from every side.
"""
