"""Benign web traffic: pages over HTTP and TLS, downloads, updates, video, uploads."""

from __future__ import annotations

from sensors.generate.conversation import CLIENT, SERVER, Context, Tcp
from sensors.generate.hosts import MS, Host

S = 1_000 * MS


def _pair(ctx: Context, inward: float = 0.35) -> tuple[Host, Host]:
    """A client inside and a site outside, or a remote user and one of our servers."""
    rng = ctx.rng
    if rng.random() < inward:
        return ctx.world.user(rng), rng.choice(ctx.world.servers[1:])
    return rng.choice(ctx.world.clients), rng.choice(ctx.world.sites)


def tls_handshake(tcp: Tcp) -> None:
    """ClientHello, the server's flight with its certificate, Finished (sizes of TLS 1.3)."""
    rng, pool = tcp.rng, tcp.ctx.pool
    tcp.wait(rng.uniform(0.05, 2) * MS).send(CLIENT, rng.choice(pool.hello))
    tcp.reply(SERVER, pool.noise(rng, rng.randint(1200, 4800)), rng.expovariate(1 / (3 * MS)))
    tcp.reply(CLIENT, pool.noise(rng, rng.randint(64, 140)), rng.uniform(0.2, 4) * MS)


def http(ctx: Context, t: int) -> None:
    """HTTP/1.1: one to a dozen requests on a connection, with reading time in between."""
    rng, pool = ctx.rng, ctx.pool
    client, server = _pair(ctx)
    tcp = Tcp(ctx, client, server, rng.choice((80, 80, 80, 8080, 8000)), t, version=6 if rng.random() < 0.15 else 4).connect()
    for i in range(min(14, 1 + int(rng.expovariate(1 / 1.6)))):
        if i:
            tcp.wait(rng.choice((rng.uniform(1, 40) * MS, rng.expovariate(1 / (1.5 * S)))))
        tcp.send(CLIENT, rng.choice(pool.requests if rng.random() < 0.9 else pool.posts))
        tcp.reply(SERVER, rng.choice(pool.responses if rng.random() < 0.95 else pool.refusals), rng.lognormvariate(1.5, 1.2) * MS)
    if rng.random() < 0.3:
        tcp.wait(rng.uniform(0.5, 15) * S)  # keep-alive timeout
    tcp.wait(rng.expovariate(1 / (20 * MS))).end()


def https(ctx: Context, t: int, version: int = 4) -> None:
    """TLS-shaped web: handshake, requests and responses of heavy-tailed size."""
    rng, pool = ctx.rng, ctx.pool
    client, server = _pair(ctx)
    tcp = Tcp(ctx, client, server, rng.choice((443, 443, 443, 443, 8443)), t, version=version).connect()
    tls_handshake(tcp)
    for i in range(min(20, 1 + int(rng.expovariate(1 / 2.2)))):
        if i:
            tcp.wait(rng.choice((rng.uniform(1, 60) * MS, rng.expovariate(1 / (2 * S)))))
        tcp.send(CLIENT, pool.noise(rng, rng.randint(90, 1300)))
        size = min(ctx.max_bytes, int(rng.lognormvariate(8.3, 1.4)) + 120)
        tcp.reply(SERVER, pool.noise(rng, size), rng.lognormvariate(2.0, 1.2) * MS)
    if rng.random() < 0.25:
        tcp.wait(rng.uniform(1, 20) * S)
    tcp.wait(rng.expovariate(1 / (30 * MS))).end()


def web6(ctx: Context, t: int) -> None:
    """The same over IPv6."""
    https(ctx, t, 6)


def health_check(ctx: Context, t: int) -> None:
    """A load balancer or monitor: the same tiny request to a service every few seconds; sometimes refused, sometimes cut by RST."""
    rng, pool = ctx.rng, ctx.pool
    server, port = rng.choice(ctx.world.servers[1:-1]), rng.choice((80, 8080, 8443, 9100, 5432, 6379))
    style = rng.random()
    every = rng.choice((0.5, 1, 2, 5, 10)) * S
    for _ in range(rng.randint(2, 8)):
        tcp = Tcp(ctx, ctx.world.monitor, server, port, t, loss=0.0)
        if style < 0.08:
            tcp.refuse()
        elif style < 0.2:
            tcp.syn_ack()
            tcp.wait(ctx.world.monitor.delay(rng)).reset(ack=False)  # a half-open check
        elif style < 0.45:
            tcp.connect().wait(rng.uniform(0.1, 1) * MS).reset()
        else:
            tcp.connect().send(CLIENT, pool.requests[0]).reply(SERVER, pool.responses[1], rng.expovariate(1 / MS))
            tcp.wait(tcp.hosts[CLIENT].delay(rng)).close()
        t += int(every * rng.uniform(0.98, 1.02))


def download(ctx: Context, t: int) -> None:
    """A software update or file: one request, megabytes back."""
    rng, pool = ctx.rng, ctx.pool
    client, server = _pair(ctx, 0.2)
    tcp = Tcp(ctx, client, server, rng.choice((80, 443)), t, version=6 if rng.random() < 0.1 else 4).connect()
    if rng.random() < 0.6:
        tls_handshake(tcp)
    for _ in range(rng.choice((1, 1, 2, 4))):
        tcp.send(CLIENT, rng.choice(pool.requests))
        size = min(ctx.max_bytes, int(rng.lognormvariate(13.2, 1.2)))
        tcp.reply(SERVER, pool.noise(rng, size), rng.uniform(2, 80) * MS)
        tcp.wait(rng.uniform(1, 300) * MS)
    tcp.end()


def video(ctx: Context, t: int) -> None:
    """Streaming: a chunk every few seconds on one connection."""
    rng, pool = ctx.rng, ctx.pool
    client, server = _pair(ctx, 0.1)
    tcp = Tcp(ctx, client, server, 443, t, version=6 if rng.random() < 0.2 else 4).connect()
    tls_handshake(tcp)
    every, chunk = rng.uniform(1.5, 8) * S, rng.lognormvariate(12.0, 0.6)
    chunks = max(2, min(40, int(ctx.max_bytes / chunk)))
    begin = tcp.t
    for i in range(rng.randint(2, chunks)):
        tcp.wait(max(0, begin + every * max(0, i - 2) - tcp.t) + rng.uniform(1, 60) * MS)
        tcp.send(CLIENT, pool.noise(rng, rng.randint(300, 900)))
        tcp.reply(SERVER, pool.noise(rng, int(chunk * rng.uniform(0.6, 1.4))), rng.uniform(4, 60) * MS)
    tcp.wait(rng.uniform(0.01, 1) * S).end()


def upload(ctx: Context, t: int) -> None:
    """A backup or photo upload: megabytes out, also slowly (a rate-limited sync)."""
    rng, pool = ctx.rng, ctx.pool
    client, server = _pair(ctx, 0.3)
    tcp = Tcp(ctx, client, server, rng.choice((443, 443, 22, 873, 445)), t).connect()
    tls_handshake(tcp)
    total = min(ctx.max_bytes, int(rng.lognormvariate(12.4, 1.1)))
    pieces = rng.choice((1, 1, 4, 12, 30))
    pause = rng.choice((0.002, 0.05, 0.4, 1.5)) * S
    for _ in range(pieces):
        tcp.send(CLIENT, pool.noise(rng, max(400, total // pieces)))
        tcp.reply(SERVER, pool.noise(rng, rng.randint(60, 300)), rng.expovariate(1 / (8 * MS)))
        tcp.wait(rng.expovariate(1 / pause))
    tcp.end()


def unanswered(ctx: Context, t: int) -> None:
    """A client whose server is gone: SYNs without an answer, or an immediate RST."""
    rng = ctx.rng
    client, server = _pair(ctx)
    port = rng.choice((80, 443, 443, 445, 993, 3389, 8080, 5222))
    if rng.random() < 0.5:
        Tcp(ctx, client, server, port, t).syn_only(rng.choice((1, 2, 3, 4)))
        return
    for _ in range(rng.choice((1, 1, 2, 3))):
        tcp = Tcp(ctx, client, server, port, t)
        tcp.refuse()
        t = tcp.t + int(rng.uniform(0.2, 1.5) * S)
