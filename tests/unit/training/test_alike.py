"""Attacks that share everything but their times with benign flows."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.training.alike import TIMES, alike, ceiling
from jobs.training.labelled import LabelledFlows

COLUMNS = ("total_fwd_packets", "flow_duration", "fwd_packet_length_max")


def flows(rows: list[tuple[str, float, float, float]]) -> LabelledFlows:
    return LabelledFlows(
        np.array([row[1:] for row in rows], np.float32),
        COLUMNS,
        np.array([row[0] for row in rows]),
        np.full(len(rows), "1"),
        np.ones(len(rows), bool),
    )


def test_times_are_durations_rates_and_what_pauses_cut() -> None:
    assert {"flow_duration", "flow_iat_mean", "fwd_packets_per_sec", "active_max", "idle_std", "subflow_fwd_bytes"} <= TIMES
    assert "fwd_bytes_bulk_avg" in TIMES
    assert not TIMES & {"total_fwd_packets", "fwd_init_win_bytes", "syn_flag_count", "packet_length_mean", "down_up_ratio"}


def test_only_attacks_with_a_benign_flow_of_the_same_values_are_alike() -> None:
    data = flows(
        [
            ("BENIGN", 1, 500, 0),
            ("SYN_SCAN", 1, 9, 0),  # differs by its duration alone
            ("SYN_SCAN", 1, 500, 8),
            ("SYN_SCAN", 2, 500, 0),
            ("SYN_SCAN", 2, 7, 0),  # like an attack, but like no benign flow
            ("BENIGN", 7, 500, -0.0),
            ("UDP_SCAN", 7, 500, 0.0),
        ]
    )
    assert alike(data).tolist() == [False, True, False, False, False, False, True]


@pytest.mark.parametrize(
    ("max_fpr", "share"),
    [
        (0.0, 2 / 10),  # only what no benign flow is like
        (0.1, 7 / 10),  # and the cell with five attacks a benign flow
        (0.2, 7 / 10),  # the last one would need nine benign flows
        (1.0, 1.0),
    ],
)
def test_the_ceiling_takes_the_best_cells_first(max_fpr: float, share: float) -> None:
    mixed = [("SYN_FLOOD", 1.0)] * 5 + [("BENIGN", 1.0)] + [("SYN_FLOOD", 2.0)] * 3 + [("BENIGN", 2.0)] * 9 + [("SYN_FLOOD", 3.0)] * 2
    assert ceiling(flows([(label, value, i, 0.0) for i, (label, value) in enumerate(mixed)]), max_fpr) == pytest.approx(share)


def test_without_attacks_there_is_no_ceiling() -> None:
    assert np.isnan(ceiling(flows([("BENIGN", 1, 2, 3)]), 0.1))


def test_without_columns_that_are_no_times_all_flows_are_alike() -> None:
    data = flows([("BENIGN", 1, 2, 3), ("SYN_SCAN", 2, 3, 4)]).select(["flow_duration"])
    assert alike(data).tolist() == [False, True]
