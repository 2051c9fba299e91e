"""Which column of a sender is which column of a flow record: CICFlowMeter's names in all spellings, and ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from jobs.moving.columns import known_names, names_of
from schemas.features import ALL_FEATURES
from schemas.packets import FLOWS

#: A name longer than this is nobody's.
_LONGEST = 100
_CIC = {feature.name: feature.cic for feature in ALL_FEATURES} | {
    "src_ip": "Src IP",
    "src_port": "Src Port",
    "dst_ip": "Dst IP",
    "dst_port": "Dst Port",
    "protocol": "Protocol",
    "start_time": "Timestamp",
}


@cache
def _known() -> dict[str, tuple[str, int]]:
    own = set(FLOWS.schema.names)  # what a sender says of labels and scores is not taken: the champion says it
    return {name: found for name, found in known_names(FLOWS).items() if found[0] in own}


@lru_cache(maxsize=4096)
def column_of(name: str) -> tuple[str, int] | None:
    """Record column that a sender's name is for, and its rank (of two names for one column the lesser is taken); None: not ours.

    Examples
    --------
    >>> column_of("TotLen Fwd Pkts")[0], column_of(" Total Length of Fwd Packets")[0]
    ('total_length_fwd_packets', 'total_length_fwd_packets')
    """
    if len(name) > _LONGEST:
        return None
    found = _known().get(names_of(FLOWS).canonical(name))
    if found and found[0] == FLOWS.key and name != FLOWS.key:
        return None  # CICFlowMeter's "Flow ID" is a text of addresses and ports
    return found


def places(names: Sequence[str]) -> dict[str, int]:
    """Record column -> place of the sender's column that it is taken from."""
    best: dict[str, tuple[int, int]] = {}
    for place, name in enumerate(names):
        if (found := column_of(name)) and (found[0] not in best or found[1] < best[found[0]][0]):
            best[found[0]] = (found[1], place)
    return {column: place for column, (_, place) in best.items()}


def shown(column: str) -> str:
    """A column as its sender may know it: ``flow_iat_mean (Flow IAT Mean)``."""
    return f"{column} ({_CIC[column]})" if column in _CIC else column
