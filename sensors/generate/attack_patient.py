"""Attacks that take hours: a port, a password or a report now and then. No flow of them shows anything."""

from __future__ import annotations

from collections.abc import Iterator

from sensors.generate.attack_scans import tcp_scan
from sensors.generate.attack_sessions import ftp_tries, report, ssh_tries
from sensors.generate.benign_web import S
from sensors.generate.conversation import Context, Tcp
from sensors.generate.hosts import MS, Host


def patient_scan(ctx: Context, t: int, end: int, every: int) -> Iterator[int]:
    """A port about every ``every`` ns: half-open or by connections, of one or a few hosts, or one port of everybody."""
    return tcp_scan(ctx, t, int(2.1 * (end - t) / every), ctx.rng.random() < 0.4, every)


def patient_ssh(ctx: Context, t: int, end: int, every: int) -> Iterator[int]:
    """A password about every ``every`` ns over SSH, mostly one a connection."""
    rng, (attacker, server) = ctx.rng, _pair(ctx)
    port, line = 22 if rng.random() < 0.85 else 2222, rng.choice(("SSH-2.0-libssh2_1.11.1", "SSH-2.0-OpenSSH_9.9"))
    attempts, think, jitter = rng.choice((1, 1, 1, 2)), rng.choice((0.001, 0.02, 0.3)), rng.uniform(0.02, 0.5)
    while t < end:
        ssh_tries(Tcp(ctx, attacker, server, port, t).connect(), attempts, think, line)
        t += int(every * rng.uniform(1 - jitter, 1 + jitter))
        yield t


def patient_ftp(ctx: Context, t: int, end: int, every: int) -> Iterator[int]:
    """A password about every ``every`` ns over FTP, mostly one a connection."""
    rng, (attacker, server) = ctx.rng, _pair(ctx)
    attempts, think, jitter = rng.choice((1, 1, 1, 2)), rng.choice((0.5, 10, 120)) * MS, rng.uniform(0.02, 0.5)
    delay = rng.choice((2, 300, 1500, 2500)) * MS
    while t < end:
        ftp_tries(Tcp(ctx, attacker, server, 21, t).connect(), attempts, think, delay)
        t += int(every * rng.uniform(1 - jitter, 1 + jitter))
        yield t


def patient_beacon(ctx: Context, t: int, end: int, every: int) -> Iterator[int]:
    """A bot reports every ``every`` ns, give or take up to a tenth, by TLS or in the clear."""
    rng, world = ctx.rng, ctx.world
    bot, controller = rng.choice(world.clients), world.outsider(rng.choice(world.users).stack, rng)
    port, jitter = rng.choice((443, 443, 443, 80, 8080, 4444)), rng.choice((0.0, 0.02, 0.05, 0.1, 0.1))
    size, answer, tls = rng.randint(40, 700), rng.choice((0, 24, 48, 160)), port == 443
    while t < end:
        report(Tcp(ctx, bot, controller, port, t, loss=0.0), tls, size, answer)
        t += int(every * rng.uniform(1 - jitter, 1 + jitter))
        yield t


#: label -> (writer, least and most seconds from one step to the next, what is typical of it); a writer is given the context, the first
#: moment, the end and the pause, ns, and yields times before which it writes no more.
PATIENT_KINDS = {
    "SLOW_SCAN": (patient_scan, 5.0, 20.0, 10.0),
    "SSH_BRUTE_FORCE": (patient_ssh, 8.0, 30.0, 15.0),
    "FTP_BRUTE_FORCE": (patient_ftp, 8.0, 30.0, 15.0),
    "BOTNET_BEACON": (patient_beacon, 30.0, 120.0, 60.0),
}


def pause(ctx: Context, label: str, typical: bool) -> int:
    """ns from one step of a campaign to the next: what is typical of it; or half of them that, and half drawn from what there is.

    Tools are often left at their defaults, and those are round as benign periods are: were every pause drawn evenly, a period of a minute
    would tell a benign program.
    """
    _, least, most, usual = PATIENT_KINDS[label]
    as_usual = typical or ctx.rng.random() < 0.5
    return int((usual if as_usual else ctx.rng.uniform(least, most)) * S)


def _pair(ctx: Context) -> tuple[Host, Host]:
    """Somebody who guesses, and a server."""
    attacker = ctx.world.attacker(ctx.rng)
    return attacker, ctx.rng.choice([server for server in ctx.world.servers[1:] if server.ip4 != attacker.ip4])
