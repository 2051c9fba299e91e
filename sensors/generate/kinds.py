"""The kinds of traffic, by name, with their share of packets in a mixed scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sensors.generate import attack_floods, attack_scans, attack_sessions, benign_services, benign_web
from sensors.generate.conversation import Context

#: Writes one conversation (or a handful) that begins at a time, ns.
Benign = Callable[[Context, int], None]
#: Writes a campaign from a time on: ``(context, start ns, packets wanted, time it may take ns)``; yields times before which it writes
#: no more.
Attack = Callable[[Context, int, int, int], Iterator[int]]

#: name -> (writer, share of the benign packets)
BENIGN_KINDS: dict[str, tuple[Benign, float]] = {
    "http": (benign_web.http, 14),
    "https": (benign_web.https, 20),
    "web6": (benign_web.web6, 5),
    "download": (benign_web.download, 11),
    "video": (benign_web.video, 8),
    "upload": (benign_web.upload, 6),
    "health-check": (benign_web.health_check, 3),
    "unanswered": (benign_web.unanswered, 0.5),
    "dns": (benign_services.dns, 10),
    "ntp": (benign_services.ntp, 1),
    "ping": (benign_services.icmp_ping, 1),
    "multicast": (benign_services.multicast, 0.4),
    "ssh": (benign_services.ssh, 6),
    "ftp": (benign_services.ftp, 1),
    "smtp": (benign_services.smtp, 3),
    "imap": (benign_services.imap, 3),
    "database": (benign_services.database, 6),
    "heartbeat": (benign_services.heartbeat, 5),
    "game": (benign_services.game, 3),
}

#: label -> (writer, share of the attack packets, fewest packets of one campaign)
ATTACK_KINDS: dict[str, tuple[Attack, float, int]] = {
    "SYN_SCAN": (attack_scans.syn_scan, 1.0, 40),
    "SSH_BRUTE_FORCE": (attack_sessions.ssh_brute_force, 1.2, 150),
    "SYN_FLOOD": (attack_floods.syn_flood, 1.6, 60),
    "DNS_TUNNEL": (attack_sessions.dns_tunnel, 0.8, 60),
    "CONNECT_SCAN": (attack_scans.connect_scan, 1.0, 40),
    "HTTP_FLOOD": (attack_floods.http_flood, 1.8, 100),
    "WEB_INJECTION": (attack_sessions.web_injection, 1.0, 60),
    "UDP_SCAN": (attack_scans.udp_scan, 0.8, 40),
    "FTP_BRUTE_FORCE": (attack_sessions.ftp_brute_force, 0.9, 80),
    "UDP_FLOOD": (attack_floods.udp_flood, 1.6, 60),
    "SLOWLORIS": (attack_floods.slowloris, 1.0, 80),
    "SLOW_SCAN": (attack_scans.slow_scan, 0.3, 30),
    "BOTNET_BEACON": (attack_sessions.botnet_beacon, 0.8, 60),
    "EXFILTRATION": (attack_sessions.exfiltration, 0.9, 80),
}

#: Campaigns that live by taking their time: given most of the scenario.
SLOW = frozenset({"SLOW_SCAN", "BOTNET_BEACON", "EXFILTRATION", "SLOWLORIS"})
