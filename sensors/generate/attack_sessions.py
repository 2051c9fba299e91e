"""Attacks inside ordinary-looking sessions: password brute force, injection bursts, beacons, DNS tunnels, exfiltration."""

from __future__ import annotations

from collections.abc import Iterator

from sensors.generate.benign_services import ssh_login
from sensors.generate.benign_web import S, tls_handshake
from sensors.generate.conversation import CLIENT, SERVER, Context, Tcp, Udp
from sensors.generate.hosts import MS


def ssh_brute_force(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """Password attempts over SSH: several at a time, one to six to a connection."""
    rng, world = ctx.rng, ctx.world
    attacker, server, port = world.attacker(rng), rng.choice(world.servers[1:]), 22 if rng.random() < 0.85 else 2222
    if attacker.ip4 == server.ip4:
        return
    attempts, line = rng.choice((1, 3, 3, 6)), rng.choice(("SSH-2.0-libssh2_1.11.1", "SSH-2.0-OpenSSH_9.9"))
    count = max(3, int(packets / (17 + 3 * attempts)))
    gap, think = min(span / count, S / rng.choice((0.5, 2, 8, 20))), rng.choice((0.001, 0.02, 0.3))
    for _ in range(count):
        ssh_tries(Tcp(ctx, attacker, server, port, t).connect(), attempts, think, line)
        t += int(gap * rng.uniform(0.3, 1.7))
        yield t


def ssh_tries(tcp: Tcp, attempts: int, think: float, line: str) -> None:
    """Up to ``attempts`` passwords on one connection, and its end; ``think``: seconds between them, ``line``: what the client is."""
    rng = tcp.rng
    ssh_login(tcp, rng.randint(1, attempts), think, line)
    tcp.wait(rng.uniform(0.1, 30) * MS)
    draw = rng.random()
    tcp.close(SERVER) if draw < 0.4 else tcp.reset() if draw < 0.6 else tcp.close()


def ftp_brute_force(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """Password attempts over FTP: refused, again, until the server hangs up."""
    rng, world = ctx.rng, ctx.world
    attacker, server = world.attacker(rng), rng.choice(world.servers[1:])
    if attacker.ip4 == server.ip4:
        return
    attempts = rng.choice((1, 1, 3, 5, 10))
    count = max(3, int(packets / (9 + 5 * attempts)))
    gap, think = min(span / count, S / rng.choice((0.5, 2, 8, 30))), rng.choice((0.5, 10, 120)) * MS
    delay = rng.choice((2, 300, 1500, 2500)) * MS
    for _ in range(count):
        ftp_tries(Tcp(ctx, attacker, server, 21, t).connect(), attempts, think, delay)
        t += int(gap * rng.uniform(0.3, 1.7))
        yield t


def ftp_tries(tcp: Tcp, attempts: int, think: float, delay: float) -> None:
    """Up to ``attempts`` passwords on one connection, and its end; the client waits ``think`` ns, the server ``delay`` ns."""
    rng, pool = tcp.rng, tcp.ctx.pool
    tcp.wait(rng.uniform(1, 20) * MS).send(SERVER, pool.line("220 FTP server ready"))
    for _ in range(rng.randint(1, attempts)):
        tcp.reply(CLIENT, pool.line("USER admin"), rng.expovariate(1 / think)).reply(SERVER, pool.line("331 Password required"), MS)
        tcp.reply(CLIENT, pool.line("PASS letmein1"), rng.expovariate(1 / think))
        tcp.reply(SERVER, pool.line("530 Login incorrect"), delay * rng.uniform(0.8, 1.2))
    tcp.wait(rng.uniform(0.1, 10) * MS)
    draw = rng.random()
    tcp.close() if draw < 0.6 else tcp.close(SERVER) if draw < 0.8 else tcp.reset()


def web_injection(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """SQL injection and cross-site scripting attempts against a form, in bursts on kept or new connections."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    attacker, server, port = world.attacker(rng), rng.choice(world.servers[1:]), rng.choice((80, 80, 8080, 443))
    if attacker.ip4 == server.ip4:
        return
    per_connection, workers = rng.choice((2, 6, 15, 40)), rng.choice((1, 2, 4, 8))
    workers = max(workers, min(16, packets // 150))
    done = 0
    while done < packets:
        tcp = Tcp(ctx, attacker, server, port, t).connect()
        if port == 443:
            tls_handshake(tcp)
        requests = rng.randint(2, per_connection) if per_connection > 2 else 2
        for _ in range(requests):
            tcp.wait(rng.expovariate(1 / (25 * MS))).send(CLIENT, rng.choice(pool.injections))
            slow = rng.uniform(1, 5) * S if rng.random() < 0.04 else rng.lognormvariate(2, 0.8) * MS  # time-based blind injection
            tcp.reply(SERVER, rng.choice(pool.refusals + pool.responses[1:5]), slow)
        tcp.wait(rng.uniform(0.1, 20) * MS).end()
        done += 6 + int(2.8 * requests)
        t += int((tcp.t - t + rng.expovariate(1 / (80 * MS))) / workers)  # several connections at a time
        yield t


def botnet_beacon(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """Bots report to their controller at an interval with some jitter; short answers, now and then a longer one."""
    rng, world = ctx.rng, ctx.world
    controller, port = world.outsider(rng.choice(world.users).stack, rng), rng.choice((443, 443, 80, 8080, 4444, 6667))
    bots = rng.sample(world.clients, rng.randint(1, min(4, len(world.clients))))
    count = max(3, int(packets / 11))
    every = max(0.4 * S, span / max(3, count / len(bots)))
    jitter, size, answer = rng.choice((0.0, 0.05, 0.3)), rng.randint(40, 700), rng.choice((0, 24, 48, 160))
    tls = port == 443 and rng.random() < 0.6
    for i in range(count):
        for bot in bots if i * len(bots) < count else ():
            tcp = Tcp(ctx, bot, controller, port, t + rng.randrange(int(0.3 * every)), loss=0.0)
            report(tcp, tls, size, answer)
        t += int(every * (1 + rng.uniform(-jitter, jitter)))
        yield t


def report(tcp: Tcp, tls: bool, size: int, answer: int) -> None:
    """A bot's report of about ``size`` bytes and the controller's answer, mostly of ``answer`` bytes; sometimes it is not there."""
    rng, pool = tcp.rng, tcp.ctx.pool
    if rng.random() < 0.06:
        tcp.syn_only(2)
        return
    tcp.connect()
    if tls:
        tls_handshake(tcp)
    tcp.wait(rng.uniform(0.1, 8) * MS).send(CLIENT, pool.noise(rng, size + rng.randint(0, 16)))
    tcp.reply(
        SERVER, pool.noise(rng, answer + rng.randint(1, 12) if rng.random() < 0.93 else rng.randint(600, 9000)), rng.uniform(0.2, 9) * MS
    )
    tcp.wait(rng.uniform(0.1, 5) * MS).close(CLIENT if rng.random() < 0.7 else SERVER)


def dns_tunnel(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """Data in long TXT queries and answers: a query a socket, or many from one."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    client = rng.choice(world.clients)
    server = world.resolver if rng.random() < 0.6 else world.outsider(rng.choice(world.sites).stack, rng)
    per_socket = rng.choice((1, 1, 5, 20, 60, 200))
    count = max(5, packets // 2)
    gap = min(span / count, S / rng.choice((2, 10, 40, 150)))
    udp: Udp | None = None
    for i in range(count):
        if udp is None or i % per_socket == 0:
            udp = Udp(ctx, client, server, 53, t)
        message, number = rng.choice(pool.tunnel), rng.randrange(1, 65536)
        udp.t = max(t, udp.t)
        udp.send(CLIENT, message.query, number).reply(SERVER, message.answer, rng.lognormvariate(2.5, 0.7) * MS, number)
        t += int(gap * rng.uniform(0.4, 1.6))
        yield t


def exfiltration(ctx: Context, t: int, packets: int, span: int) -> Iterator[int]:
    """Slow upload to an outside host: pieces of some kilobytes with pauses, little coming back; one or more connections."""
    rng, world, pool = ctx.rng, ctx.world, ctx.pool
    inside = rng.choice(world.clients + world.servers)
    drop, port = world.outsider(rng.choice(world.sites).stack, rng), rng.choice((443, 443, 22, 8443, 53, 80))
    connections = rng.choice((1, 2, 3, 4, 6))
    piece = rng.choice((700, 1400, 4200, 12000))
    pieces = max(3, int(packets / connections / (2 + 1.6 * piece / 1400)))
    for _ in range(connections):
        pause = min(span / connections / pieces, rng.choice((0.2, 0.8, 2.5)) * S)
        tcp = Tcp(ctx, inside, drop, port, t).connect()
        if port != 53 and rng.random() < 0.8:
            tls_handshake(tcp)
        for _ in range(pieces):
            tcp.wait(pause * rng.uniform(0.5, 1.5)).send(CLIENT, pool.noise(rng, max(60, int(piece * rng.uniform(0.7, 1.3)))))
            if rng.random() < 0.3:
                tcp.reply(SERVER, pool.noise(rng, rng.randint(20, 120)), rng.expovariate(1 / (5 * MS)))
            yield t  # the packets of a connection are written as its time comes
            t = max(t, tcp.t)
        tcp.wait(rng.uniform(0.1, 1) * S).end()
        t = tcp.t
        yield t
