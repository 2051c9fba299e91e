"""What to generate: a scenario, and the presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from infra.errors import ConfigError
from sensors.generate.attack_patient import PATIENT_KINDS
from sensors.generate.kinds import ATTACK_KINDS, BENIGN_KINDS

#: 2026-01-05 09:00:00 UTC: captures of one seed are the same bytes whenever they are made.
DEFAULT_START_NS = 1_767_603_600 * 1_000_000_000


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} {value:g} is out of range", f"between {low:g} and {high:g}")


@dataclass(frozen=True)
class Scenario:
    """Labelled traffic to generate. The same scenario yields the same bytes.

    Attributes
    ----------
    seed : int
        Everything random follows from it.
    duration_s : float
        Capture time, seconds.
    rate : float
        Packets per second to aim at, attacks included (``flood_packets`` come on top).
    attack_share : float
        Share of the packets that belong to attacks, 0..1.
    kinds : tuple of str
        Attack labels and benign kinds to take; empty: all. Attack labels alone keep every benign kind.
    start_ns : int
        Time of the first moment, ns since the epoch, UTC.
    clients, servers, outside : int
        Hosts inside, servers inside, known hosts outside.
    waves : bool
        One campaign of each attack kind, one after the other, as a viewer can follow them; else many, at random times.
    flood_packets : int
        One-packet flows of a SYN flood in the middle of the scenario, beside the rest.
    repeat : bool
        Repeat short conversations with other addresses, ports and times: cheap to make, for load.
    slow : str
        ``any``: traffic of an office for hours. Hosts have habits (polls, checks, keep-alives), attacks take their time, their pauses
        the usual ones of the kind or drawn, for each campaign (:mod:`sensors.generate.attack_patient`); ``typical``: always the usual
        ones. ``rate`` is then that of the benign packets beside habits, and ``attack_share`` the share of time in which a campaign of
        each kind goes on. Empty: not so.
    """

    seed: int = 7
    duration_s: float = 60.0
    rate: float = 1400.0
    attack_share: float = 0.3
    kinds: tuple[str, ...] = ()
    start_ns: int = DEFAULT_START_NS
    clients: int = 60
    servers: int = 10
    outside: int = 120
    waves: bool = False
    flood_packets: int = 0
    repeat: bool = False
    slow: Literal["", "any", "typical"] = ""

    def __post_init__(self) -> None:
        _within("duration", self.duration_s, 0.1, 86_400.0)
        _within("rate", self.rate, 1.0, 10_000_000.0)
        _within("attack share", self.attack_share, 0.0, 1.0)
        _within("clients", self.clients, 2, 1000)
        _within("servers", self.servers, 4, 500)
        _within("outside", self.outside, 8, 20_000)
        _within("flood packets", self.flood_packets, 0, 100_000_000)
        for kind in self.kinds:
            if kind not in ATTACK_KINDS and kind not in BENIGN_KINDS:
                known = ", ".join([*BENIGN_KINDS, *ATTACK_KINDS])
                raise ConfigError(f"unknown kind of traffic {kind!r}", f"known kinds: {known}")
            if self.slow and kind in ATTACK_KINDS and kind not in PATIENT_KINDS:
                raise ConfigError(f"no {kind} takes hours", f"those that do: {', '.join(PATIENT_KINDS)}")

    @property
    def end_ns(self) -> int:
        """First moment after the scenario."""
        return self.start_ns + int(self.duration_s * 1e9)

    @property
    def benign_kinds(self) -> tuple[str, ...]:
        """Benign kinds taken, in a fixed order."""
        return tuple(k for k in BENIGN_KINDS if k in self.kinds) or tuple(BENIGN_KINDS)

    @property
    def attack_kinds(self) -> tuple[str, ...]:
        """Attack labels taken, in a fixed order; benign kinds alone take none."""
        return tuple(k for k in (PATIENT_KINDS if self.slow else ATTACK_KINDS) if k in self.kinds or not self.kinds)


#: A few packets a second of two dozen hosts and six servers: a day is less than a million packets.
_OFFICE = Scenario(duration_s=14_400.0, rate=4.0, attack_share=0.6, clients=24, servers=6, outside=60, slow="any")

PRESETS: dict[str, Scenario] = {
    "demo": Scenario(waves=True),
    "train": Scenario(duration_s=180.0, rate=3000.0, attack_share=0.18, clients=80, servers=14, outside=200),
    "bench": Scenario(duration_s=120.0, rate=100_000.0, attack_share=0.15, clients=400, servers=60, outside=4000, repeat=True),
    "flood": Scenario(duration_s=30.0, rate=2000.0, attack_share=0.1, flood_packets=100_000),
    "flood-1m": Scenario(duration_s=30.0, rate=2000.0, attack_share=0.1, flood_packets=1_000_000),
    "slow": _OFFICE,
    "quiet": replace(_OFFICE, duration_s=86_400.0, attack_share=0.0),
}


def preset(name: str, **changes: Any) -> Scenario:
    """A preset, with some fields changed (``None``: as it is).

    Raises
    ------
    ConfigError
        No such preset, an unknown kind, or a value out of range.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}", f"presets: {', '.join(PRESETS)}")
    kinds = changes.get("kinds")
    if kinds:
        changes["kinds"] = tuple(k.upper().replace("-", "_") if k.upper().replace("-", "_") in ATTACK_KINDS else k.lower() for k in kinds)
    return replace(PRESETS[name], **{k: v for k, v in changes.items() if v is not None})
