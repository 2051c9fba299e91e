"""Summaries of 5 s as texts in records: counters and samples as they are, so that larger windows can be made of them again.

Of each: bytes of the row and number of its items (u4 each), the row, the items, squeezed (:mod:`jobs.metering.words`); base64 of it.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jobs.metering.words import expand, squeeze
from jobs.windows.blob import BlobError
from jobs.windows.fold import summed_up
from jobs.windows.summary import ITEM_DTYPE, RECALLED, ROW_DTYPE, Summaries, grouped

_HEAD = struct.Struct("<II")


def texts(windows: Summaries) -> list[str]:
    """A text of each row."""
    rows, items = windows.rows.copy(), windows.items.copy()
    for name in (*RECALLED, "domain"):  # the hour before is no part of it, and the record names its domain
        rows[name] = 0
    items["row"] = 0
    bounds = np.searchsorted(windows.items["row"], np.arange(len(rows) + 1))
    rows_at, items_at = _offsets(rows), _offsets(items)[bounds]
    of_rows, of_items = squeeze(rows), squeeze(items)
    return [
        base64.b64encode(_HEAD.pack(r1 - r0, n1 - n0) + of_rows[r0:r1] + of_items[i0:i1]).decode()
        for r0, r1, i0, i1, n0, n1 in zip(
            *(some.tolist() for some in (rows_at[:-1], rows_at[1:], items_at[:-1], items_at[1:], bounds[:-1], bounds[1:])), strict=True
        )
    ]


def _offsets(rows: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """Where each of the squeezed rows begins, and the last ends, bytes."""
    width = rows.dtype.itemsize // 4
    words = rows.view(np.uint32).reshape(len(rows), width) != 0
    ends = np.zeros(len(rows) + 1, np.int64)
    np.cumsum((words.sum(axis=1) + (width + 31) // 32) * 4, out=ends[1:])
    return ends


def summaries(domains: Sequence[str], written: Sequence[str]) -> Summaries:
    """Inverse of :func:`texts`, of records in any order.

    Raises
    ------
    BlobError
        A text that is none.
    """
    names = tuple(sorted(set(domains)))
    of_rows, of_items = [np.zeros(0, ROW_DTYPE)], [np.zeros(0, ITEM_DTYPE)]
    for text in written:
        try:
            data = base64.b64decode(text, validate=True)
            size, count = _HEAD.unpack_from(data)
            of_rows.append(expand(data[_HEAD.size : _HEAD.size + size], 1, ROW_DTYPE))
            of_items.append(expand(data[_HEAD.size + size :], count, ITEM_DTYPE))
        except (ValueError, struct.error) as e:
            raise BlobError(f"no summary of a window: {text[:40]!r}: {e}") from e
    rows, items = np.concatenate(of_rows), np.concatenate(of_items)
    number = {name: i for i, name in enumerate(names)}
    rows["domain"] = [number[domain] for domain in domains]
    items["row"] = np.repeat(np.arange(len(written)), [len(some) for some in of_items[1:]])
    found = grouped(rows, items, names)
    if len(found) < len(written) and (again := int((~summed_up(rows)).sum() - (~summed_up(found.rows)).sum())):
        raise BlobError(f"{again:,} records of 5 s are there twice")  # of networks there is one a bucket
    return found
