"""Traffic of an office for hours: how patient attacks are, and what is regular without being one."""

from __future__ import annotations

import random
from collections import defaultdict
from types import SimpleNamespace
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from infra.errors import ConfigError
from schemas.labels import BENIGN
from sensors.generate import generate, preset, truth
from sensors.generate.attack_patient import PATIENT_KINDS, pause
from sensors.generate.conversation import Context


@pytest.fixture(scope="module")
def quiet() -> pa.Table:
    return truth(preset("quiet", duration_s=7200.0, seed=13))


def gaps(table: pa.Table) -> dict[tuple[str, str, int], np.ndarray]:
    """Seconds between starts of flows, by source, destination and port."""
    starts: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for row in table.select(["src_ip", "dst_ip", "dst_port", "start_time"]).to_pylist():
        starts[row["src_ip"], row["dst_ip"], row["dst_port"]].append(row["start_time"].timestamp())
    return {pair: np.diff(sorted(times)) for pair, times in starts.items()}


@pytest.mark.parametrize("kind", PATIENT_KINDS)
@pytest.mark.parametrize("pace", ["typical", "any"])
def test_attacks_take_their_time(kind: str, pace: str) -> None:
    found = truth(preset("slow", duration_s=3600.0, seed=12, kinds=(kind,), attack_share=0.9, slow=pace))
    attacks = found.filter(pc.equal(found["label"], kind))
    assert set(found["label"].to_pylist()) == {BENIGN, kind}
    _, least, most, usual = PATIENT_KINDS[kind]
    (source, *_) = attacks["src_ip"].to_pylist()
    steps = np.diff(np.sort(attacks.filter(pc.equal(attacks["src_ip"], source))["start_time"].cast(pa.int64()).to_numpy())) / 1e6
    typical = float(np.median(steps[steps < 2 * most]))
    assert len(steps) >= 12
    assert typical == pytest.approx(usual, rel=0.2) if pace == "typical" else 0.8 * least <= typical <= 1.2 * most


@pytest.mark.parametrize("kind", PATIENT_KINDS)
def test_half_of_the_campaigns_keep_the_usual_pause_of_their_kind(kind: str) -> None:
    _, least, most, usual = PATIENT_KINDS[kind]
    ctx = cast(Context, SimpleNamespace(rng=random.Random(5)))
    pauses = np.array([pause(ctx, kind, typical=False) / 1e9 for _ in range(400)])
    assert 0.4 < (pauses == usual).mean() < 0.6
    assert pauses.min() < least * 1.1
    assert pauses.max() > most * 0.9
    assert pause(ctx, kind, typical=True) == usual * 1e9


def test_a_beacon_keeps_within_a_tenth_of_its_period() -> None:
    for seed in (1, 2, 3):
        found = truth(preset("slow", duration_s=3000.0, seed=seed, kinds=("BOTNET_BEACON",), attack_share=1.0, slow="typical"))
        (steps, *_) = gaps(found.filter(pc.equal(found["label"], "BOTNET_BEACON"))).values()
        assert len(steps) > 20
        assert ((steps > 53.9) & (steps < 66.1)).all()


def test_a_campaign_of_each_kind_goes_on_for_the_asked_share_of_the_time() -> None:
    scenario = preset("slow", duration_s=43_200.0, rate=1.0, seed=4, kinds=("SSH_BRUTE_FORCE",), attack_share=0.5)
    found = truth(scenario)
    times = found.filter(pc.equal(found["label"], "SSH_BRUTE_FORCE"))["start_time"].cast(pa.int64()).to_numpy() // 60_000_000
    assert 0.3 < len(np.unique(times)) / (scenario.duration_s / 60) < 0.7


def test_benign_hosts_do_things_regularly(quiet: pa.Table) -> None:
    assert set(quiet["label"].to_pylist()) == {BENIGN}
    by_port: dict[int, list[np.ndarray]] = defaultdict(list)
    for (_, _, port), steps in gaps(quiet).items():
        if len(steps) >= 10:
            by_port[port].append(steps)
    polls = np.array([np.median(steps) for steps in by_port[123]])
    assert ((polls > 62) & (polls < 66)).any(), "NTP polls each 64 s"
    assert any(45 < np.median(steps) < 320 for port in (143, 993) for steps in by_port[port]), "mail is asked for"
    assert by_port[10051], "agents report"
    regular = [steps for some in by_port.values() for steps in some if np.std(steps) < 0.05 * np.mean(steps)]
    assert len(regular) > 20, "more is as regular as a beacon than there are beacons"


def test_somebody_asks_many_hosts_and_somebody_gets_no_answer(quiet: pa.Table) -> None:
    asked: dict[str, set[str]] = defaultdict(set)
    silent: dict[tuple[str, str, int], int] = defaultdict(int)
    for row in quiet.to_pylist():
        asked[row["src_ip"]].add(row["dst_ip"])
        if row["dst_port"] in (9100, 631, 445) and row["bwd_packets"] == 0:
            silent[row["src_ip"], row["dst_ip"], row["dst_port"]] += 1
    assert max(len(to) for to in asked.values()) >= 8
    assert max(silent.values()) >= 10, "a printer that is off"


def test_a_day_is_less_than_two_million_packets() -> None:
    run = generate(preset("quiet", duration_s=3600.0, seed=5))
    for _ in run:
        pass
    assert run.packets * 24 < 2_000_000


def test_hosts_differ_between_seeds(quiet: pa.Table) -> None:
    other = truth(preset("quiet", duration_s=600.0, seed=12))
    inside = [{ip for ip in table["src_ip"].to_pylist() if ip.startswith("10.")} for table in (quiet, other)]
    assert inside[0]
    assert inside[1]
    assert not inside[0] & inside[1]


def test_an_attack_that_takes_seconds_is_refused() -> None:
    with pytest.raises(ConfigError, match="SYN_FLOOD") as error:
        preset("slow", kinds=("SYN_FLOOD",))
    assert "SLOW_SCAN" in error.value.hint
