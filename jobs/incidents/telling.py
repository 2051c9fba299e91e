"""An incident in words: its title and description, from what its alerts say. Pure, and the same for the same alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from schemas.labels import Label

_ACRONYMS = {"SYN", "UDP", "TCP", "HTTP", "SSH", "FTP", "DNS", "ICMP", "BGP"}
_NO_NAMES: Mapping[str, str] = MappingProxyType({})
#: Addresses named in a text; more are a number.
NAMED = 3


@dataclass(frozen=True)
class StoryPart:
    """The alerts of an incident that are of one attack type. Times: us since the epoch; addresses: those that are known, sorted."""

    attack_type: str
    alerts: int
    flows: int
    first_seen: int
    severity: int
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    more_sources: bool = False
    more_targets: bool = False
    storm: bool = False


def plain(attack_type: str) -> str:
    """``SSH_BRUTE_FORCE`` -> ``SSH brute force``."""
    words = [word if word in _ACRONYMS else word.lower() for word in attack_type.split("_")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def title(parts: Sequence[StoryPart], assets: Mapping[str, str] = _NO_NAMES) -> str:
    """One line: what, by whom, at whom; ``parts`` in the order of time, ``assets`` names of addresses."""
    names = [plain(part.attack_type) for part in parts]
    what = ", then ".join([names[0], *(name if name.split()[0] in _ACRONYMS else name[0].lower() + name[1:] for name in names[1:])])
    sources, crowd = _all(parts, "sources")
    targets, many = _all(parts, "targets")
    others = [t for t in targets if t not in sources] or targets
    return f"{what}: {_hosts(sources, crowd, assets)} -> {_hosts(others, many, assets)}"


def description(parts: Sequence[StoryPart], labels: Mapping[str, Label], assets: Mapping[str, str] = _NO_NAMES) -> str:
    """A line an attack type: how much of it, what it is, its technique, what to look at."""
    lines = []
    for part in parts:
        label = labels.get(part.attack_type)
        about = f" ({label.description})" if label else ""
        technique = f" MITRE ATT&CK {label.technique}." if label and label.technique else ""
        check = f" Check {label.check}{'' if label.check.endswith('?') else '.'}" if label and label.check else ""
        storm = " A storm: what was too much for alerts of its own is counted in one." if part.storm else ""
        counted = f"{part.alerts} alert{'s' * (part.alerts != 1)}, {part.flows:,} flow{'s' * (part.flows != 1)}"
        who = f"{_hosts(part.sources, part.more_sources, assets)} -> {_hosts(part.targets, part.more_targets, assets)}"
        lines.append(f"{plain(part.attack_type)}{about}: {counted}, {who}.{technique}{check}{storm}")
    return "\n".join(lines)


def _all(parts: Sequence[StoryPart], side: str) -> tuple[list[str], bool]:
    named = list(dict.fromkeys(address for part in parts for address in getattr(part, side)))
    return named, any(getattr(part, f"more_{side}") for part in parts)


def _hosts(addresses: Sequence[str], more: bool, assets: Mapping[str, str]) -> str:
    if more or not addresses:
        return "many hosts"
    if len(addresses) > NAMED:
        return f"{len(addresses)} hosts"
    return ", ".join(f"{one} ({assets[one]})" if one in assets else one for one in addresses)
