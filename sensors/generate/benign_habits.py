"""What hosts of an office do at intervals, for hours: benign, and regular enough to be mistaken for a beacon, a scan or guessing.

Each habit is a generator as a campaign is: ``(context, host, first moment, end)``, times in ns; it yields times before which it writes
no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from sensors.generate.attack_sessions import ssh_tries
from sensors.generate.benign_services import ssh_login
from sensors.generate.benign_web import S, tls_handshake
from sensors.generate.conversation import CLIENT, SERVER, Context, Tcp, Udp, ping
from sensors.generate.hosts import MS, Host

Habit = Callable[[Context, Host, int, int], Iterator[int]]


def _times(ctx: Context, t: int, end: int, every_s: float, jitter: float) -> Iterator[int]:
    """Times every so many seconds, each pause longer or shorter by up to ``jitter`` of it; the first within a pause."""
    t += int(ctx.rng.random() * every_s * S)
    while t < end:
        yield t
        t += int(every_s * ctx.rng.uniform(1 - jitter, 1 + jitter) * S)


def ntp_polls(ctx: Context, host: Host, t: int, end: int) -> Iterator[int]:
    """NTP (RFC 5905): a poll of one to four servers every 64 s, or less often."""
    rng, pool = ctx.rng, ctx.pool
    servers = rng.sample(ctx.world.sites, rng.choice((1, 1, 2, 4)))
    fixed, every = rng.random() < 0.5, rng.choice((64, 64, 64, 128, 256, 1024))
    for at in _times(ctx, t, end, every, 0.02):
        for server in servers:
            udp = Udp(ctx, host, server, 123, at + rng.randrange(2 * S), sport=123 if fixed else None).send(CLIENT, pool.ntp_query)
            if rng.random() < 0.97:
                udp.reply(SERVER, pool.ntp_answer, rng.uniform(0.02, 0.3) * MS)
        yield at


def mail_polls(ctx: Context, host: Host, t: int, end: int) -> Iterator[int]:
    """A mail client asks for new mail every one to ten minutes, by IMAP in the clear or TLS-shaped; seldom there is some."""
    rng, pool = ctx.rng, ctx.pool
    server, port = rng.choice((ctx.world.servers[1], rng.choice(ctx.world.sites))), rng.choice((143, 993, 993))
    for at in _times(ctx, t, end, rng.choice((60, 60, 120, 180, 300, 600)), rng.choice((0.002, 0.02, 0.05))):
        tcp = Tcp(ctx, host, server, port, at, loss=0.0).connect()
        if port == 993:
            tls_handshake(tcp)
        tcp.wait(rng.uniform(1, 20) * MS).send(SERVER, pool.line("* OK IMAP4rev2 ready"))
        for line in ("a1 LOGIN user pass", "a2 SELECT INBOX"):
            tcp.reply(CLIENT, pool.line(line), rng.uniform(1, 20) * MS)
            tcp.reply(SERVER, pool.line("a1 OK LOGIN completed"), rng.uniform(1, 40) * MS)
        if rng.random() < 0.1:
            tcp.reply(CLIENT, pool.noise(rng, rng.randint(20, 60)), rng.uniform(1, 90) * MS)
            tcp.reply(SERVER, pool.noise(rng, min(ctx.max_bytes, int(rng.lognormvariate(8.5, 1.5)))), rng.uniform(1, 40) * MS)
        tcp.reply(CLIENT, pool.line("a4 LOGOUT"), MS).reply(SERVER, pool.line("* BYE"), MS).wait(MS).close()
        yield at


def keep_alive(ctx: Context, host: Host, t: int, end: int) -> Iterator[int]:
    """A message on a connection that is kept for hours, every half a minute to five minutes (push services, chats, agents)."""
    rng, pool = ctx.rng, ctx.pool
    tcp = Tcp(ctx, host, rng.choice(ctx.world.sites), rng.choice((443, 5222, 5228, 8883)), t, loss=0.0).connect()
    tls_handshake(tcp)
    size = rng.randint(24, 90)
    for at in _times(ctx, tcp.t, end, rng.choice((30, 45, 60, 75, 120, 240, 300)), rng.choice((0.001, 0.01, 0.1))):
        tcp.wait(max(0, at - tcp.t)).send(CLIENT, pool.noise(rng, size))
        tcp.reply(SERVER, pool.noise(rng, size), rng.uniform(0.1, 5) * MS).wait(200 * MS)
        yield at


def telemetry(ctx: Context, host: Host, t: int, end: int) -> Iterator[int]:
    """A program sends what it measured to its maker: a TLS connection every minute to half an hour."""
    rng, pool = ctx.rng, ctx.pool
    site, size = rng.choice(ctx.world.sites), int(rng.lognormvariate(7.6, 0.8))
    for at in _times(ctx, t, end, rng.choice((60, 120, 300, 300, 600, 900, 1800)), rng.choice((0.002, 0.01, 0.1, 0.3))):
        tcp = Tcp(ctx, host, site, 443, at, loss=0.0).connect()
        tls_handshake(tcp)
        tcp.wait(rng.uniform(0.2, 30) * MS).send(CLIENT, pool.noise(rng, max(300, int(size * rng.uniform(0.5, 1.5)))))
        tcp.reply(SERVER, pool.noise(rng, rng.randint(180, 900)), rng.uniform(5, 120) * MS)
        tcp.wait(rng.uniform(0.1, 20) * MS).end()
        yield at


def update_checks(ctx: Context, host: Host, t: int, end: int) -> Iterator[int]:
    """Looks for updates every ten to sixty minutes, sometimes with a download."""
    rng, pool = ctx.rng, ctx.pool
    site, port = rng.choice(ctx.world.sites), rng.choice((80, 443))
    for at in _times(ctx, t, end, rng.uniform(600, 3600), 0.2):
        tcp = Tcp(ctx, host, site, port, at).connect()
        if port == 443:
            tls_handshake(tcp)
        tcp.send(CLIENT, rng.choice(pool.requests)).reply(SERVER, rng.choice(pool.responses[:5]), rng.uniform(5, 60) * MS)
        if rng.random() < 0.1:
            size = min(ctx.max_bytes, int(rng.lognormvariate(11, 1)))
            tcp.reply(CLIENT, rng.choice(pool.requests), MS).reply(SERVER, pool.noise(rng, size), 20 * MS)
        tcp.wait(rng.uniform(1, 50) * MS).end()
        yield at


def agent_reports(ctx: Context, host: Host, t: int, end: int) -> Iterator[int]:
    """A monitoring agent of the house sends its numbers every half a minute to two minutes, a connection each."""
    rng, pool = ctx.rng, ctx.pool
    size = rng.randint(250, 4000)
    for at in _times(ctx, t, end, rng.choice((30, 60, 60, 120)), rng.choice((0.001, 0.01))):
        if host.ip4 != ctx.world.monitor.ip4:
            tcp = Tcp(ctx, host, ctx.world.monitor, 10051, at, loss=0.0).connect()
            tcp.send(CLIENT, pool.noise(rng, max(60, int(size * rng.uniform(0.8, 1.2)))))
            tcp.reply(SERVER, pool.noise(rng, rng.randint(60, 110)), rng.uniform(0.2, 6) * MS).wait(MS).close(SERVER)
        yield at


def printer_that_is_off(ctx: Context, host: Host, t: int, end: int) -> Iterator[int]:
    """The queue of a printer that nobody switched on: SYNs that nobody answers, every half a minute to five minutes."""
    rng = ctx.rng
    printer = replace(rng.choice(ctx.world.servers), ip4=host.ip4 ^ rng.randrange(1, 8))
    port, tries = rng.choice((9100, 631, 445)), rng.choice((1, 2, 4))
    for at in _times(ctx, t, end, rng.choice((30, 60, 120, 300)), 0.02):
        Tcp(ctx, host, printer, port, at, loss=0.0).syn_only(tries)
        yield at


def administration(ctx: Context, host: Host, t: int, end: int) -> Iterator[int]:
    """Logs in to servers by SSH a few times an hour; one password in six is wrong, and is typed again at once."""
    rng, pool, world = ctx.rng, ctx.pool, ctx.world
    for at in _times(ctx, t, end, rng.uniform(300, 1500), 0.9):
        server = rng.choice([server for server in world.servers if server.ip4 != host.ip4])
        while rng.random() < 0.17:
            tcp = Tcp(ctx, host, server, 22, at).connect()
            ssh_tries(tcp, 3, 2.0, "SSH-2.0-OpenSSH_9.9")
            at = tcp.t + int(rng.uniform(1, 10) * S)
        tcp = Tcp(ctx, host, server, 22, at).connect()
        ssh_login(tcp, 1)
        for _ in range(rng.randint(3, 40)):
            tcp.wait(rng.lognormvariate(6.5, 1.0) * MS).send(CLIENT, pool.noise(rng, 36))
            tcp.reply(SERVER, pool.noise(rng, rng.choice((36, 52, 420))), rng.uniform(0.2, 4) * MS)
        tcp.wait(rng.uniform(1, 400) * MS).end()
        yield at


def scripted_logins(ctx: Context, host: Host, t: int, end: int) -> Iterator[int]:
    """A script logs in to a server by SSH every one to fifteen minutes; that of one in six has a password that no longer holds."""
    rng, pool = ctx.rng, ctx.pool
    server = rng.choice([server for server in ctx.world.servers if server.ip4 != host.ip4])
    stale = rng.random() < 0.17
    for at in _times(ctx, t, end, rng.choice((60, 300, 300, 900)), rng.choice((0.005, 0.05))):
        tcp = Tcp(ctx, host, server, 22, at, loss=0.0).connect()
        if stale:
            ssh_tries(tcp, 1, 0.02, "SSH-2.0-OpenSSH_9.9")
        else:
            ssh_login(tcp, 1, 0.01)
            tcp.wait(rng.uniform(1, 20) * MS).send(CLIENT, pool.noise(rng, rng.randint(60, 300)))
            tcp.reply(SERVER, pool.noise(rng, min(ctx.max_bytes, int(rng.lognormvariate(7, 1.5)) + 36)), rng.uniform(2, 200) * MS)
            tcp.wait(rng.uniform(0.1, 5) * MS).close()
        yield at


def syslog(ctx: Context, host: Host, t: int, end: int) -> Iterator[int]:
    """Lines for the log of the house, in datagrams that nobody answers."""
    rng = ctx.rng
    sport = host.port(rng)
    for at in _times(ctx, t, end, rng.uniform(10, 90), 0.9):
        if host.ip4 != ctx.world.monitor.ip4:
            Udp(ctx, host, ctx.world.monitor, 514, at, sport=sport).send(CLIENT, ctx.pool.noise(rng, rng.randint(60, 300)))
        yield at


def service_check(ctx: Context, host: Host, t: int, end: int) -> Iterator[int]:
    """``host``, a monitor or a load balancer, looks at a service every ten seconds to a minute: asks it, or connects, or pings."""
    rng, pool, world = ctx.rng, ctx.pool, ctx.world
    others = [other for other in world.servers + world.clients[::3] if other.ip4 != host.ip4]
    server, port = rng.choice(others), rng.choice((80, 443, 8080, 9100, 5432, 22, 25))
    style = rng.choice(("get", "get", "connect", "half", "refused", "ping", "ping"))
    if style == "ping" and not world.claim_icmp(host, server, ctx.label_index):
        style = "connect"
    for at in _times(ctx, t, end, rng.choice((10, 30, 30, 60, 60)), rng.choice((0.001, 0.02))):
        if style == "ping":
            ping(ctx, host, server, at, 1)
        else:
            tcp = Tcp(ctx, host, server, port, at, loss=0.0)
            if style == "refused":
                tcp.refuse()
            elif style == "half":
                tcp.syn_ack()
                tcp.wait(host.delay(rng)).reset(ack=False)
            elif style == "connect":
                tcp.connect().wait(rng.uniform(0.1, 1) * MS).reset()
            else:
                tcp.connect().send(CLIENT, pool.requests[0]).reply(SERVER, pool.responses[1], rng.expovariate(1 / MS))
                tcp.wait(host.delay(rng)).close()
        yield at


#: Habits of clients and of servers, and how likely a host has each.
OF_CLIENTS: tuple[tuple[Habit, float], ...] = (
    (ntp_polls, 0.8),
    (mail_polls, 0.6),
    (keep_alive, 0.6),
    (telemetry, 0.4),
    (update_checks, 0.7),
    (agent_reports, 0.4),
    (printer_that_is_off, 0.12),
    (administration, 0.1),
    (scripted_logins, 0.06),
)
OF_SERVERS: tuple[tuple[Habit, float], ...] = (
    (ntp_polls, 1.0),
    (agent_reports, 0.8),
    (syslog, 0.7),
    (scripted_logins, 0.4),
    (update_checks, 0.5),
    (keep_alive, 0.2),
)
