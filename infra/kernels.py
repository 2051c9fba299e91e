"""Compiled kernels that are made of small functions in several modules.

A :func:`kernel` is called from Python, or by several kernels, and what Numba compiled of it is kept on disk. A :func:`piece` is part of
kernels and costs no call: it is written into each of them.

Numba compiles again when the file of the kernel changes. The pieces, and the constants that they use, may lie in other files, and old code
would go on running after those have changed; so a kernel depends on all that it is made of.

Neither counts references, which takes more time than reading a header does: both only work on arrays that their caller holds, and make
none. An :func:`allocating_kernel` may.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher

_UNCOUNTED: dict[str, Any] = {"_nrt": False}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` on its first call, and keep it on disk for as long as all that it is made of stays the same."""
    return _kept(njit(cache=True, nogil=True, **_UNCOUNTED)(function))


def allocating_kernel(function: Callable[..., Any]) -> Any:
    """The same for a function that makes arrays, which needs the counting of references."""
    return _kept(njit(cache=True, nogil=True)(function))


def piece(function: Callable[..., Any]) -> Any:
    """Compile ``function`` into the kernels that call it."""
    return njit(forceinline=True, **_UNCOUNTED)(function)


def _kept(compiled: Any) -> Any:
    file = compiled._cache._cache_file  # Numba has no public way to say what else a kernel depends on
    file._source_stamp = (file._source_stamp, fingerprint(compiled.py_func))
    return compiled


def fingerprint(function: FunctionType) -> str:
    """Hash of a function's byte code, of the constants it uses and of the compiled functions that it calls, and so on down."""
    found: dict[str, bytes] = {}
    _collect(function, found)
    return hashlib.sha256(b"".join(name.encode() + code for name, code in sorted(found.items()))).hexdigest()


def _collect(function: FunctionType, found: dict[str, bytes]) -> None:
    name = f"{function.__module__}.{function.__qualname__}"
    if name in found:
        return
    code = function.__code__
    constants = [c for c in code.co_consts if not isinstance(c, CodeType)]
    found[name] = code.co_code + repr((constants, code.co_names)).encode()
    for used in code.co_names:
        value = function.__globals__.get(used)
        if isinstance(value, Dispatcher):
            _collect(value.py_func, found)
        elif isinstance(value, np.ndarray):
            found[f"{name}.{used}"] = value.tobytes()
        elif isinstance(value, (bool, int, float, str, bytes, tuple, np.generic, np.dtype)):
            found[f"{name}.{used}"] = repr(value).encode()
