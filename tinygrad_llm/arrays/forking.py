"""A lock for which a fork waits while machine code is made: in the child nobody would end it.

A fork takes the locks last that were registered first. A thread that draws for the first time holds
its generator's lock (random/sharing.py), waits for `making` while the loop is compiled, and for the
locks of `logging` and `concurrent.futures`, which it uses meanwhile. The fork must not hold what
that thread waits for: so it takes these locks in the same order, and they are registered in the
opposite one. Hence the import here of a module that is not used (it imports logging, too), and
that of this one in random/sharing.py.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401
import os
import threading

__all__ = ["making"]

making = threading.RLock()  # held while machine code is made: LLVM's locks, and those of imports

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=making.acquire, after_in_parent=making.release, after_in_child=making.release
    )
