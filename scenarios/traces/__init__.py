"""What a real VMM asked of a real kernel, read back as memory-region calls.

Map of the room, in the order in which a file passes through it:

- ``importer``: the door, ``read_trace``: picks the format, refuses bad files.
- ``lines``: a file, plain or gzipped, becomes numbered lines of bounded length.
- ``mail``: undoes what a mail program did to a pasted line.
- ``strace`` joins the halves of calls, ``strace_line`` is the grammar of a line,
  ``strace_calls`` what a call means, ``short_way`` counts what means nothing.
- ``qemu_trace``: the other format, QEMU's own trace event.
- ``c_numbers``, ``region``: the numbers in a line become one requested region.
- ``tally``: gathers calls and every line that was not one.
- ``call``: what comes out: ``Trace``, ``RegionCall``, ``TraceError``.
- ``overlap``: which calls overlap, and which of those could be told apart.
"""
