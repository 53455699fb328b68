"""The three ways to find a slot, as plain data structures.

Nothing here waits, logs, or knows what a slot is: an index holds *owners*
through small protocols, and whoever uses it decides when others may run.
Every structure has a ``check()`` that walks all of it and raises
``StructureBroken``.

    rbtree         RbNode, RbTree: a red-black tree; its users search, it links
    rb_balance     the rebalancing, written once for both trees
    rb_rules       what must hold in both trees; the walk behind ``check()``
    gfn_tree       GfnTree: guest page number to owner; ranges never overlap
    interval_tree  IntervalNode, IntervalTree: host addresses; ranges may overlap
    id_hash        IdHash: slot id to owner, in the kernel's bucket order
    errors         StructureBroken
"""
