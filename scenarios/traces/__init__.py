"""What a real VMM asked of a real kernel, read back as memory-region calls.

Map of the room, in the order in which a file passes through it:

- ``importer``: the door, ``read_trace``: picks the format, refuses bad files.
- ``lines``: a file, plain or gzipped, becomes numbered lines of bounded length.
- ``mail``: undoes what a mail program did to a pasted line.
- ``strace`` joins the halves of calls, ``strace_line`` is the grammar of a line,
  ``strace_calls`` what a call means, ``short_way`` counts what means nothing.
- ``qemu_trace``: another format, QEMU's own trace event.
- ``mtree``: a layout that QEMU's monitor prints, slots without a history.
- ``c_numbers``, ``region``: the numbers in a line become one requested region.
- ``tally``: gathers calls and every line that was not one.
- ``call``: what comes out: ``Trace``, ``RegionCall``, ``TraceError``.

And what can be said of the calls:

- ``overlap``: which calls overlap, which of those could be told apart, who must wait
  for whom; ``parts``: which calls have nothing to do with each other.
- ``guest_memfds``: which files there were, and how large.
- ``sequential``: what the kernel answers to calls that are made one after the other.
- ``serial_order``: finds an order in which overlapping calls get their answers;
  ``configurations`` is the search, ``stuck`` says why there is none.
"""
