"""Arrays beyond whose ends nothing may be written."""

import ctypes
import mmap

import numpy as np
import pytest


def guarded(array):
    """The same numbers between two stretches of others, to see writes beyond the ends."""
    whole = np.full(array.size + 32, 77, array.dtype)
    middle = whole[16:-16].reshape(array.shape)
    middle[...] = array
    return whole, middle


def assert_guards_intact(whole):
    assert (whole[:16] == 77).all()
    assert (whole[-16:] == 77).all()


def read_only(array):
    array.flags.writeable = False
    return array


def at_the_end_of_memory(array):
    """The same numbers where the next byte belongs to nobody: who reads it ends the process."""
    page = mmap.PAGESIZE
    room = -(-array.nbytes // page) * page
    pages = mmap.mmap(-1, room + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + room), page, 0) != 0:
        pytest.skip("this system does not protect pages")
    copy = np.frombuffer(pages, array.dtype, array.size, room - array.nbytes)
    copy[:] = array.ravel()
    return copy.reshape(array.shape)
