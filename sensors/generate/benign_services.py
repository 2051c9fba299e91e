"""Benign traffic besides the web: DNS, NTP, ping, multicast, SSH, FTP, mail, servers among themselves."""

from __future__ import annotations

from dataclasses import replace

from sensors.generate.benign_web import S, tls_handshake
from sensors.generate.conversation import CLIENT, SERVER, Context, Tcp, Udp, ping
from sensors.generate.hosts import MS

_MDNS = (0xE00000FB, 0xFF02 << 112 | 0xFB, 0x01005E0000FB)
_SSDP = (0xEFFFFFFA, 0xFF02 << 112 | 0xC, 0x01005E7FFFFA)


def dns(ctx: Context, t: int) -> None:
    """Lookups of a host: A and AAAA together, some NXDOMAIN, a few repeated without an answer."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    inward = rng.random() < 0.15
    client = world.user(rng) if inward else rng.choice(world.clients + world.servers[1:])
    server = world.resolver if inward or rng.random() < 0.8 else rng.choice(world.sites[:4])
    version = 6 if rng.random() < 0.15 else 4
    names = pool.dns_nx if rng.random() < 0.08 else pool.dns_a
    which = rng.randrange(len(names))
    one_socket = rng.random() < 0.4
    asked: Udp | None = None
    for messages in (names[which], pool.dns_aaaa[which]) if rng.random() < 0.6 else (names[which],):
        number = rng.randrange(1, 65536)
        udp = asked if asked and one_socket else Udp(ctx, client, server, 53, t, version=version)
        udp.t = t if asked is None else t + rng.randrange(20_000, 400_000)
        if rng.random() < 0.04:
            for _ in range(rng.choice((1, 2, 3))):
                udp.send(CLIENT, messages.query, number).wait(rng.choice((1, 2, 5)) * S)
            if rng.random() < 0.5:
                continue
        udp.send(CLIENT, messages.query, number)
        udp.reply(SERVER, messages.answer, rng.choice((rng.expovariate(1 / (0.2 * MS)), rng.lognormvariate(3, 0.8) * MS)), number)
        asked = udp


def ntp(ctx: Context, t: int) -> None:
    """NTP: one to a few polls, from port 123 or an ephemeral one."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    udp = Udp(ctx, rng.choice(world.clients + world.servers), rng.choice(world.sites), 123, t, sport=123 if rng.random() < 0.5 else None)
    for i in range(rng.choice((1, 1, 1, 4))):
        udp.wait(rng.uniform(1.9, 2.1) * S if i else 0).send(CLIENT, pool.ntp_query)
        if rng.random() < 0.95:
            udp.reply(SERVER, pool.ntp_answer, rng.uniform(0.02, 0.3) * MS)


def icmp_ping(ctx: Context, t: int) -> None:
    """Ping among our hosts and to the outside, IPv4 and IPv6."""
    rng, world = ctx.rng, ctx.world
    client = rng.choice([world.monitor, *world.clients])
    server = rng.choice(world.servers[:-1] + world.sites)
    version = 6 if rng.random() < 0.2 else 4
    if version == 4 and not world.claim_icmp(client, server, 0):
        return
    ping(ctx, client, server, t, rng.choice((1, 3, 4, 4, 10)), version, rng.choice((200, 1000, 1000)) * MS)


def multicast(ctx: Context, t: int) -> None:
    """mDNS and SSDP announcements: datagrams nobody answers at that address."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    client = rng.choice(world.clients)
    ssdp = rng.random() < 0.4
    ip4, ip6, mac = _SSDP if ssdp else _MDNS
    group = replace(client, ip4=ip4, ip6=ip6, mac=mac)
    version = 6 if not ssdp and rng.random() < 0.3 else 4
    if ssdp:
        udp, span = Udp(ctx, client, group, 1900, t), pool.ssdp
    else:
        udp, span = Udp(ctx, client, group, 5353, t, version=version, sport=5353), rng.choice(pool.mdns)
    for i in range(rng.choice((1, 2, 3, 4))):
        udp.wait((1 << i) * S if i else 0).send(CLIENT, span)


def ssh(ctx: Context, t: int) -> None:
    """Interactive SSH: key exchange, login, then keystrokes and echoes; or scp: a bulk copy either way."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    client = world.user(rng) if rng.random() < 0.4 else rng.choice(world.clients)
    tcp = Tcp(ctx, client, rng.choice(world.servers[1:]), 22 if rng.random() < 0.9 else 2222, t).connect()
    ssh_login(tcp, attempts=rng.choice((1, 1, 1, 2, 3)))
    if rng.random() < 0.35:
        size = min(ctx.max_bytes, int(rng.lognormvariate(12.0, 1.4)))
        tcp.wait(rng.uniform(5, 80) * MS).send(rng.choice((CLIENT, SERVER)), pool.noise(rng, size)).wait(30 * MS)
    else:
        for _ in range(rng.randint(3, 60)):
            tcp.wait(rng.lognormvariate(5.2, 0.9) * MS)
            tcp.send(CLIENT, pool.noise(rng, rng.choice((36, 36, 36, 44, 52))))
            tcp.reply(SERVER, pool.noise(rng, rng.choice((36, 36, 44, 52, 100, 420, 2400))), rng.uniform(0.2, 4) * MS)
    tcp.wait(rng.uniform(1, 400) * MS).end()


def ssh_login(tcp: Tcp, attempts: int, think: float = 1.0, client_line: str = "SSH-2.0-OpenSSH_9.9") -> None:
    """Version exchange, key exchange and password attempts (RFC 4253, 4252); ``think``: seconds between attempts."""
    rng, pool = tcp.rng, tcp.ctx.pool
    tcp.wait(rng.uniform(0.1, 3) * MS).send(CLIENT, pool.line(client_line))
    tcp.reply(SERVER, pool.line("SSH-2.0-OpenSSH_10.0p1 Debian-7"), rng.uniform(1, 20) * MS)
    tcp.reply(CLIENT, pool.noise(rng, rng.randint(700, 1600)), rng.uniform(0.1, 2) * MS)
    tcp.reply(SERVER, pool.noise(rng, rng.randint(900, 1150)), rng.uniform(0.1, 2) * MS)
    tcp.reply(CLIENT, pool.noise(rng, rng.choice((48, 80, 1208))), rng.uniform(1, 8) * MS)
    tcp.reply(SERVER, pool.noise(rng, rng.randint(400, 1600)), rng.uniform(2, 12) * MS)
    tcp.reply(CLIENT, pool.noise(rng, 16 + 44), rng.uniform(1, 5) * MS)
    tcp.reply(SERVER, pool.noise(rng, 44), rng.uniform(0.1, 1) * MS)
    for i in range(attempts):
        tcp.reply(CLIENT, pool.noise(rng, rng.choice((68, 84, 148))), (rng.lognormvariate(0, 0.6) * think + (0.01 if i else 0)) * S)
        tcp.reply(
            SERVER, pool.noise(rng, rng.choice((28, 52, 84))), rng.uniform(5, 60) * MS if i + 1 == attempts else rng.uniform(0.4, 2.4) * S
        )


def ftp(ctx: Context, t: int) -> None:
    """An FTP session that logs in, sometimes at the second try."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    client = world.user(rng) if rng.random() < 0.5 else rng.choice(world.clients)
    tcp = Tcp(ctx, client, rng.choice(world.servers[1:]), 21, t).connect()
    tcp.wait(rng.uniform(1, 60) * MS).send(SERVER, pool.line("220 FTP server ready"))
    for ok in (True,) if rng.random() < 0.8 else (False, True):
        tcp.reply(CLIENT, pool.line("USER admin"), rng.lognormvariate(-0.5, 1) * S).reply(SERVER, pool.line("331 Password required"), MS)
        tcp.reply(CLIENT, pool.line("PASS letmein1"), rng.lognormvariate(0, 1) * S)
        tcp.reply(SERVER, pool.line("230 Login successful" if ok else "530 Login incorrect"), rng.uniform(2, 800) * MS)
    for _ in range(rng.randint(1, 12)):
        tcp.reply(CLIENT, pool.noise(rng, rng.randint(6, 40)), rng.expovariate(1 / (0.6 * S)))
        tcp.reply(SERVER, pool.noise(rng, rng.randint(20, 120)), rng.uniform(0.3, 20) * MS)
    tcp.reply(CLIENT, pool.line("QUIT"), 50 * MS).reply(SERVER, pool.line("221 Goodbye"), MS).wait(MS).close(SERVER)


def smtp(ctx: Context, t: int) -> None:
    """A mail delivered by SMTP (RFC 5321), inward or outward, in the clear or TLS-shaped."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    client, server = (rng.choice(world.sites), world.servers[1]) if rng.random() < 0.5 else (world.servers[1], rng.choice(world.sites))
    tcp = Tcp(ctx, client, server, rng.choice((25, 25, 587)), t).connect()
    tcp.wait(rng.uniform(1, 200) * MS).send(SERVER, pool.line("220 mail.example.org ESMTP"))
    tcp.reply(CLIENT, pool.line("EHLO client.example.com"), MS)
    tcp.reply(SERVER, pool.line("250-mail.example.org\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME"), MS)
    if rng.random() < 0.5:
        tls_handshake(tcp)
    for line in ("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>"):
        tcp.reply(CLIENT, pool.line(line), MS).reply(SERVER, pool.line("250 2.1.0 Ok"), rng.uniform(1, 40) * MS)
    tcp.reply(CLIENT, pool.line("DATA"), MS).reply(SERVER, pool.line("354 End data with <CR><LF>.<CR><LF>"), MS)
    tcp.reply(CLIENT, pool.noise(rng, min(ctx.max_bytes, int(rng.lognormvariate(9, 1.3)))), MS)
    tcp.reply(SERVER, pool.line("250 2.0.0 Ok: queued"), rng.uniform(2, 300) * MS)
    tcp.reply(CLIENT, pool.line("QUIT"), MS).reply(SERVER, pool.line("221 Goodbye"), MS).wait(MS).end()


def imap(ctx: Context, t: int) -> None:
    """A mail client that logs in, fetches, then idles."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    tcp = Tcp(ctx, rng.choice(world.clients), rng.choice((world.servers[1], rng.choice(world.sites))), rng.choice((143, 993)), t).connect()
    tcp.wait(rng.uniform(1, 30) * MS).send(SERVER, pool.line("* OK IMAP4rev2 ready"))
    for line in ("a1 LOGIN user pass", "a2 SELECT INBOX"):
        tcp.reply(CLIENT, pool.line(line), rng.uniform(1, 30) * MS).reply(
            SERVER, pool.line("a1 OK LOGIN completed"), rng.uniform(1, 40) * MS
        )
    for _ in range(int(rng.expovariate(1 / 2.0))):
        tcp.reply(CLIENT, pool.noise(rng, rng.randint(20, 60)), rng.uniform(1, 900) * MS)
        tcp.reply(SERVER, pool.noise(rng, min(ctx.max_bytes, int(rng.lognormvariate(8.5, 1.5)))), rng.uniform(1, 40) * MS)
    tcp.reply(CLIENT, pool.line("a3 IDLE"), 2 * MS).reply(SERVER, pool.line("+ idling"), 2 * MS)
    if rng.random() < 0.7:
        tcp.wait(rng.uniform(2, 40) * S).send(CLIENT, pool.line("a4 LOGOUT")).reply(SERVER, pool.line("* BYE"), MS).wait(MS).end()


def database(ctx: Context, t: int) -> None:
    """An application server's queries to its database: many small requests on one long connection."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    client, server = rng.sample(world.servers, 2)
    tcp = Tcp(ctx, client, server, rng.choice((5432, 3306, 6379, 27017, 9092)), t, loss=0.0).connect()
    think = rng.lognormvariate(3, 1.3) * MS
    for _ in range(rng.randint(2, 60)):
        tcp.send(CLIENT, pool.noise(rng, rng.randint(30, 700)))
        tcp.reply(SERVER, pool.noise(rng, int(rng.lognormvariate(6, 1.2)) + 20), rng.lognormvariate(0, 1.2) * MS)
        tcp.wait(rng.expovariate(1 / think))
    if rng.random() < 0.6:
        tcp.end()


def heartbeat(ctx: Context, t: int) -> None:
    """Periodic keep-alive messages: on one connection, or a new short connection each time (agents, push services)."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    inside = rng.choice(world.clients + world.servers)
    peer = rng.choice(world.sites if rng.random() < 0.6 else world.servers[1:])
    if peer is inside:
        peer = world.resolver if inside is not world.resolver else world.monitor
    port, every, beats = rng.choice((443, 5222, 8883, 4222, 10050)), rng.uniform(0.5, 15) * S, rng.randint(3, 14)
    if rng.random() < 0.5:
        tcp = Tcp(ctx, inside, peer, port, t, loss=0.0).connect()
        for _ in range(beats):
            tcp.send(CLIENT, pool.line("PING") if port == 4222 else pool.noise(rng, rng.randint(24, 120)))
            tcp.reply(SERVER, pool.line("+PONG") if port == 4222 else pool.noise(rng, rng.randint(24, 120)), MS).wait(
                every * rng.uniform(0.9, 1.1)
            )
        tcp.end()
        return
    for _ in range(min(beats, 6)):
        tcp = Tcp(ctx, inside, peer, port, t).connect()
        tls_handshake(tcp)
        tcp.send(CLIENT, pool.noise(rng, rng.randint(100, 900))).reply(
            SERVER, pool.noise(rng, rng.randint(60, 900)), rng.uniform(1, 30) * MS
        )
        tcp.wait(rng.uniform(0.1, 20) * MS).end()
        t = tcp.t + int(every * rng.uniform(0.7, 1.3))


def game(ctx: Context, t: int) -> None:
    """Games and calls: small datagrams both ways at a steady rate."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    client, server = rng.choice(world.clients), rng.choice(world.sites)
    udp = Udp(ctx, client, server, rng.choice((3478, 3074, 27015, 19302, 443)), t)
    step, size = rng.choice((10, 20, 20, 33, 50)) * MS, rng.randint(60, 900)
    for i in range(rng.randint(30, max(31, min(1500, ctx.max_bytes // 4000)))):
        udp.send(CLIENT if i == 0 or rng.random() < 0.5 else SERVER, pool.noise(rng, max(20, int(size * rng.uniform(0.6, 1.4)))))
        udp.wait(step * rng.uniform(0.4, 0.6))
