"""Integers out of frame bytes. Bounds are the caller's matter."""

from __future__ import annotations

import numpy as np

from infra.kernels import piece


@piece
def u16(d, p):
    """Big-endian 16 bits of ``d`` (uint8[n]) at ``p``, as int64."""
    return (np.int64(d[p]) << 8) | np.int64(d[p + 1])


@piece
def u32(d, p):
    """Big-endian 32 bits at ``p``, as int64."""
    return (np.int64(d[p]) << 24) | (np.int64(d[p + 1]) << 16) | (np.int64(d[p + 2]) << 8) | np.int64(d[p + 3])


@piece
def u64(d, p):
    """Big-endian 64 bits at ``p``, as uint64."""
    return (np.uint64(u32(d, p)) << np.uint64(32)) | np.uint64(u32(d, p + 4))


@piece
def u16_little(d, p):
    """Little-endian 16 bits at ``p``, as int64."""
    return np.int64(d[p]) | (np.int64(d[p + 1]) << 8)


@piece
def u32_little(d, p):
    """Little-endian 32 bits at ``p``, as int64."""
    return u16_little(d, p) | (u16_little(d, p + 2) << 16)
