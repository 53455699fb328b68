"""What a real VMM asked of a real kernel, read back as memory-region calls.

Map of the room, in the order in which a file passes through it:

- ``lines``: a file, plain or gzipped, becomes numbered lines of bounded length.
- ``mail``: undoes what a mail program did to a pasted line.
- ``strace``, ``qemu_trace``: one recording format each; lines become calls.
- ``c_numbers``, ``region``: the numbers in a line become one requested region.
- ``tally``: gathers calls and every line that was not one.
- ``call``: what comes out: ``Trace``, ``RegionCall``, ``TraceError``.
- ``importer``: the door, ``read_trace``: picks the format, refuses bad files.
- ``overlap``: which calls overlap, and which of those could be told apart.
"""
