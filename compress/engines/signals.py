"""A thread's alternative signal stack, kept from OpenVINO.

OpenVINO's CPU plugin gives the thread that starts it a stack for signals, and gives back the one before it when it ends.
Where two of them live and the elder ends first, that one is memory no more, and the next signal with a Python handler (a
child that ends, Ctrl-C) ends the process without a word.
"""

import ctypes
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


class SignalStack(ctypes.Structure):
    """Linux's `stack_t`: address, flags, size in bytes."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def keep_signal_stack() -> Iterator[None]:
    """Give this thread back the signal stack that it came with, whatever was started within.

    What was started then finds another stack than its own when it ends, and leaves it alone.
    """
    if sys.platform != "linux":  # OpenVINO replaces it nowhere else
        yield
        return
    sigaltstack, before = ctypes.CDLL(None).sigaltstack, SignalStack()
    sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        if sigaltstack(ctypes.byref(before), None):
            logger.warning("The thread's signal stack could not be given back: a signal may end the process.")
