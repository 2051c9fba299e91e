"""sFlow samples as columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport import frames
from jobs.flowexport.columns import DEFAULTS, FlowColumns, addresses
from jobs.flowexport.datagrams import NO_ADDRESS
from jobs.flowexport.flowrecords import address16_of
from jobs.flowexport.merging import merge_frames
from jobs.flowexport.samples import PacketSample, SampleRows
from jobs.flowexport.sflowkernel import ETHERNET, IPV4, IPV6, PLAIN_DTYPE
from sensors.packets.protocols import LINKTYPE_ETHERNET, LINKTYPE_IPV4, LINKTYPE_IPV6

_LINKS = {ETHERNET: LINKTYPE_ETHERNET, IPV4: LINKTYPE_IPV4, IPV6: LINKTYPE_IPV6}
#: Fields of :data:`jobs.flowexport.sflowkernel.PLAIN_DTYPE` that are columns.
_SAME = (
    *("position", "rate", "rate_source", "marks", "drop_reason", "input", "output"),
    *("vlan", "post_vlan", "src_mask", "dst_mask"),
)


def fill_samples(samples: SampleRows, out: FlowColumns, rows: slice) -> NDArray[np.int32]:
    """Write samples into the records ``rows``: those that the kernel read, then the others.

    Returns
    -------
    int32[n]
        The part that each belongs to. Times are those of its receipt: an sFlow datagram has no clock.
    """
    out["packets"][rows] = 1
    middle = rows.start + sum(map(len, samples.plain)) // PLAIN_DTYPE.itemsize
    owners = [
        *_fill_plain(samples, out, slice(rows.start, middle)),
        *_fill_others(samples.flows, out, slice(middle, rows.stop)),
    ]
    return np.concatenate(owners) if owners else np.zeros(0, np.int32)


def _fill_plain(samples: SampleRows, out: FlowColumns, rows: slice) -> list[NDArray[np.int32]]:
    if not samples.plain:
        return []
    found = np.frombuffer(b"".join(samples.plain), PLAIN_DTYPE)
    for name in _SAME:
        out[name][rows] = found[name]
    data = samples.data
    routed = np.flatnonzero(found["next_hop_at"] >= 0)
    if len(routed):
        places = zip(found["next_hop_at"][routed].tolist(), found["next_hop_size"][routed].tolist(), strict=True)
        out["next_hop"][rows.start + routed] = addresses([address16_of(data[at : at + size]) for at, size in places])
    framed = np.flatnonzero(found["frame_at"] >= 0)
    if len(framed):
        at, size = (found[name][framed].tolist() for name in ("frame_at", "frame_size"))
        heads = [data[a : a + n] for a, n in zip(at, size, strict=True)]
        links = [_LINKS[p] for p in found["protocol"][framed].tolist()]
        read = frames.fields(heads, found["frame_length"][framed].tolist(), links)
        merge_frames(read, framed, out, rows, out["marks"][rows])
    return [found["part"]]


def _fill_others(samples: Sequence[PacketSample], out: FlowColumns, rows: slice) -> list[NDArray[np.int32]]:
    for name in {name for s in samples for name in s.said}:
        column = out[name]
        if column.ndim == 2:
            column[rows] = addresses([s.said.get(name, NO_ADDRESS) for s in samples])  # type: ignore[misc]  # bytes, by its name
        else:
            column[rows] = [s.said.get(name, DEFAULTS[name]) for s in samples]
    framed = np.asarray([i for i, s in enumerate(samples) if s.link >= 0], np.int64)
    if len(framed):
        chosen = [samples[i] for i in framed]
        found = frames.fields([s.frame for s in chosen], [s.frame_length for s in chosen], [s.link for s in chosen])
        merge_frames(found, framed, out, rows, out["marks"][rows])
    return [np.asarray([s.part for s in samples], np.int32)] if samples else []
