"""The model against the running kernel, call by call.

Map of the room, from a call to a verdict:

- ``calls``: a call and its answer, the same for both sides.
- ``kvm_abi``: numbers and structs of the ioctls.
- ``kernel``: the one side: ``/dev/kvm``, what it can do, a VM that answers.
- ``model``: the other side: one VM of the model whose calls are made one by one.
- ``tracked``: what slots a VM has by now, for whoever makes up the next call.
- ``requests``: good region calls; ``spoiler`` makes them bad, ``chance`` chooses.
- ``generator``: the next call, good or bad, of every kind.
- ``compare``: both sides answer; the first difference ends it.
- ``shrink``: from a difference to the shortest calls that show it.
- ``lines``: calls as strace would have written them.
- ``threads``: overlapping calls, judged by the search for a serial order.
- ``recording``: a file of calls and answers.
- ``parity``: all of it together: as many calls as wanted, on as many VMs as needed.
"""
