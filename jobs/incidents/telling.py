"""An incident in words: its title and description, from what its alerts say. Pure, and the same for the same alerts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from infra.plurals import counted
from jobs.incidents.hosts import SideHosts, between
from schemas.labels import Label

_ACRONYMS = {"SYN", "UDP", "TCP", "HTTP", "SSH", "FTP", "DNS", "ICMP", "BGP"}
_NO_NAMES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class StoryPart:
    """The alerts of an incident that are of one attack type. ``first_seen``: us since the epoch.

    ``seen``: they are more than single flows of what is only an attack when it is repeated.
    """

    attack_type: str
    alerts: int
    flows: int
    first_seen: int
    severity: int
    sources: SideHosts
    targets: SideHosts
    storm: bool = False
    seen: bool = True


def plain(attack_type: str) -> str:
    """``SSH_BRUTE_FORCE`` -> ``SSH brute force``."""
    words = [word if word in _ACRONYMS else word.lower() for word in attack_type.split("_")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def title(parts: Sequence[StoryPart], assets: Mapping[str, str] = _NO_NAMES) -> str:
    """One line: what, by whom, at whom; ``parts`` in the order of time, ``assets`` names of addresses."""
    names = [plain(part.attack_type) for part in parts]
    what = ", then ".join([names[0], *(name if name.split()[0] in _ACRONYMS else name[0].lower() + name[1:] for name in names[1:])])
    sources = SideHosts.joined(part.sources for part in parts)
    targets = SideHosts.joined(part.targets for part in parts).without(sources)
    return f"{what}{_who(sources, targets, assets, ': ')}"


def description(parts: Sequence[StoryPart], labels: Mapping[str, Label], assets: Mapping[str, str] = _NO_NAMES) -> str:
    """A line an attack type: how much of it, what it is, its technique, what to look at."""
    lines = []
    for part in parts:
        label = labels.get(part.attack_type)
        about = f" ({label.description})" if label else ""
        technique = f" MITRE ATT&CK {label.technique}." if label and label.technique else ""
        check = f" Check {label.check}{'' if label.check.endswith('?') else '.'}" if label and label.check else ""
        storm = " A storm: what was too much for alerts of its own is counted in one." if part.storm else ""
        much = f"{counted(part.alerts, 'alert')}, {counted(part.flows, 'flow')}"
        who = _who(part.sources, part.targets, assets, ", ")
        lines.append(f"{plain(part.attack_type)}{about}: {much}{who}.{technique}{check}{storm}")
    return "\n".join(lines)


def stages(parts: Iterable[StoryPart], labels: Mapping[str, Label]) -> list[str]:
    """Stages of an attack that parts show, in their order."""
    return list(dict.fromkeys(label.stage for part in parts if (label := labels.get(part.attack_type)) and label.stage))


def _who(sources: SideHosts, targets: SideHosts, assets: Mapping[str, str], before: str) -> str:
    """``: 192.0.2.1 -> 4 hosts``; nothing of records that are not about hosts."""
    told = between(sources, targets, assets)
    return f"{before}{told}" if told else ""
