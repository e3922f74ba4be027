"""A calm heap: blocks as large as pictures are used again instead of mapped anew each time."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_LARGEST_BYTES = 1 << 30
_NEVER = -1


def keep_large_blocks_in_the_heap(one_arena: bool = False) -> None:
    """Tell glibc to reuse large blocks; page faults on fresh maps are most of what they cost.

    `one_arena`: threads share the heap. Those of their own hold 64 MiB at most, which is less than
    one array of a training step. To be called before threads start; no effect on other libcs.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
        libc.mallopt(_M_TOP_PAD, 1 << 26)
        if one_arena:
            libc.mallopt(_M_ARENA_MAX, 1)
