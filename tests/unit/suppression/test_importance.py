"""Which asset counts for an address: the longest prefix, against a search through all of them."""

from __future__ import annotations

import ipaddress
import pickle
import random

import numpy as np
import pytest

from jobs.suppression.importance import NO_ASSETS, AssetList
from schemas.assets import UNKNOWN

ASSETS = AssetList(
    (ipaddress.ip_network(net), importance)
    for net, importance in [("10.0.0.0/8", 1), ("10.0.5.0/24", 3), ("10.0.5.7/32", 4), ("2001:db8::/32", 3), ("2001:db8:1::5/128", 4)]
)


@pytest.mark.parametrize(
    ("address", "importance"),
    [
        ("10.9.9.9", 1), ("10.0.5.8", 3), ("10.0.5.7", 4), ("::ffff:10.0.5.7", 4), ("11.0.0.1", UNKNOWN),
        ("2001:db8:1::4", 3), ("2001:db8:1:0:0:0:0:5", 4), ("2001:db9::", UNKNOWN), ("::a00:507", UNKNOWN),
        ("", UNKNOWN), ("host", UNKNOWN),
    ],
)  # fmt: skip
def test_the_longest_prefix_counts(address: str, importance: int) -> None:
    assert ASSETS.importance(address) == importance
    assert pickle.loads(pickle.dumps(ASSETS)).importance(address) == importance


def test_without_assets_nothing_is_known() -> None:
    assert NO_ASSETS.importances(np.array(["10.0.5.7", ""], dtype=object)).tolist() == [UNKNOWN, UNKNOWN]
    assert (len(NO_ASSETS), len(ASSETS)) == (0, 5)


@pytest.mark.parametrize("seed", range(10))
def test_as_a_search_through_all(seed: int) -> None:
    rng = random.Random(seed)
    known = {}
    for _ in range(60):
        bits, shown = rng.choice([(32, ipaddress.IPv4Network), (128, ipaddress.IPv6Network)])
        prefix = rng.randint(0, bits)
        known[shown((rng.choice([1, 2, 3]) << (bits - 3) | rng.getrandbits(6), prefix), strict=False)] = rng.randint(1, 4)
    addresses = [ipaddress.ip_address((rng.choice([1, 2, 3]) << 29) | rng.getrandbits(6)) for _ in range(100)]
    addresses += [ipaddress.ip_address((rng.choice([1, 2, 3]) << 125) | rng.getrandbits(6)) for _ in range(100)]
    expected = []
    for one in addresses:
        holding = [net for net in known if net.version == one.version and one in net]
        expected.append(known[max(holding, key=lambda net: net.prefixlen)] if holding else UNKNOWN)
    assert AssetList(known.items()).importances(np.array([str(one) for one in addresses], dtype=object)).tolist() == expected
    assert len(set(expected)) > 2
