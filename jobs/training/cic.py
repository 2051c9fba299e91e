"""What is known of files of CICFlowMeter and the data sets made with it: wrong columns, names of labels.

Columns whose values are known to be wrong or differently defined are left out (``WRONG_IN_CIC``), so that the model only learns what the
meter will show it.
"""

from __future__ import annotations

from collections.abc import Collection

from schemas.labels import BENIGN

#: Features not taken from files with CICFlowMeter's names, and why.
WRONG_IN_CIC: dict[str, str] = {
    **{f"subflow_{d}_{what}": "equal to the totals, or integer quotients" for d in ("fwd", "bwd") for what in ("packets", "bytes")},
    "bwd_init_win_bytes": "holds the last window, not the first",
    "fwd_header_length": "wraps at 16 bits",
    "bwd_header_length": "wraps at 16 bits",
    "fwd_act_data_pkts": "leaves out the first packet",
}

#: Flows of an attack tool that carried no attack (no payload arrived): the data's authors count them as benign.
ATTEMPTED = " - Attempted"


#: A column that ``flowlake meter`` alone writes beside CICFlowMeter's.
_OURS = "feature_version"


def wrong_in(names: Collection[str]) -> frozenset[str]:
    """Features that a file with CICFlowMeter's names has wrong, by the names of its columns: none of those that our own meter wrote."""
    return frozenset() if _OURS in names else frozenset(WRONG_IN_CIC)


def label_name(said: str) -> tuple[str, str]:
    """The name that a training has for a label of a file, and a note where that means something else; empty of most.

    Attacks keep their names: a classifier tells them apart, and what alerts call them
    (:attr:`schemas.records.CsvNames.labels`) goes with it.
    """
    if said.endswith(ATTEMPTED):
        return BENIGN, f"rows labelled '..{ATTEMPTED}' taken as {BENIGN}"
    return said, ""
