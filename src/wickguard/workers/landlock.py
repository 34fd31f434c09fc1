"""Landlock: no file, no TCP port, no signal beyond this process, where the kernel has the LSM.

A worker needs nothing of the file system once it is born, so the ruleset handles every right that the running kernel
knows and grants none. It promises to report the ABI that is in force, and 0 where the kernel has no Landlock; it must
not know why a worker is confined.

Source: Documentation/userspace-api/landlock.rst (ABI 1 to 7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from wickguard.workers import kernel

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same numbers on every architecture
_QUERY_VERSION = 1
_FS_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_RIGHTS = 0b11  # bind and connect TCP, since ABI 4
_SCOPES = 0b11  # abstract unix sockets and signals, since ABI 6


def kernel_abi() -> int:
    """The newest Landlock ABI of this kernel, 0 when it has none or it is switched off."""
    try:
        return kernel.syscall(_CREATE_RULESET, None, 0, _QUERY_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


def deny_everything() -> int:
    """Confine this thread for ever; needs no_new_privs. Returns the ABI used, 0 if there is none. Raises OSError."""
    abi = kernel_abi()
    if abi == 0:
        return 0
    rights = _FS_RIGHTS_BY_ABI[min(abi, max(_FS_RIGHTS_BY_ABI))]
    attributes = struct.pack("QQQ", rights, _NET_RIGHTS if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = kernel.syscall(_CREATE_RULESET, ctypes.c_void_p(ctypes.addressof(buffer)), size, 0)
    try:
        kernel.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi
