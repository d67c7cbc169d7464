"""Threads that compute give way to threads that answer."""

from __future__ import annotations

import contextlib
import os
import threading

#: Steps below normal: enough that a thread which has something to answer is run first, whenever it wakes.
STEPS = 5


def give_way(steps: int = STEPS) -> None:
    """Lowers the priority of the calling thread, and of the threads that it starts from now on.

    Linux keeps priorities by thread; elsewhere, or where it is not allowed, nothing happens.
    """
    with contextlib.suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), steps)
