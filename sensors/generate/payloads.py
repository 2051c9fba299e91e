"""Payload bytes: one pool per scenario that packets point into.

Messages of text protocols and DNS are written once per scenario; encrypted and bulk data point into a random block. Bytes beyond the
snap length matter to capture files alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

_RANDOM = 1 << 19
#: Longest run of bytes one packet or message may take from the random block.
BULK_STEP = 1 << 16

Span = tuple[int, int]  # offset, length

_WORDS = [
    "news",
    "shop",
    "mail",
    "img",
    "static",
    "api",
    "cdn",
    "login",
    "assets",
    "video",
    "store",
    "blog",
    "wiki",
    "docs",
    "search",
    "maps",
    "cloud",
    "update",
    "media",
    "portal",
    "files",
    "app",
    "data",
    "edge",
    "auth",
    "track",
    "status",
    "forum",
    "help",
    "intra",
    "sync",
]
_PATHS = [
    "/",
    "/index.html",
    "/api/v1/items",
    "/static/app.js",
    "/img/logo.png",
    "/search?q=red+shoes",
    "/cart",
    "/product/4711",
    "/feed.xml",
    "/favicon.ico",
]
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 15_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "curl/8.14.1",
    "python-requests/2.32.4",
    "okhttp/4.12.0",
)
_INJECTIONS = (
    "id=1%27%20OR%20%271%27=%271",
    "id=1%20UNION%20SELECT%20null,table_name,null%20FROM%20information_schema.tables--",
    "q=%3Cscript%3Ealert(document.cookie)%3C/script%3E",
    "user=admin%27--&pw=x",
    "name=%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E",
    "id=1;WAITFOR%20DELAY%20%270:0:3%27--",
    "item=5)%20AND%20SLEEP(2)--%20-",
    "c=%3Csvg/onload=fetch(%27//198.51.100.9/%27)%3E",
)


@dataclass(slots=True)
class Dns:
    """One name's question and answer, without their ids."""

    query: Span
    answer: Span


class Pool:
    """Payloads of a scenario. ``data`` is what the renderer reads; complete after construction."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"{seed}/payloads")
        noise = np.random.default_rng([seed & 0xFFFFFFFF, 0x9001]).integers(0, 256, _RANDOM, np.uint8)
        self._parts: list[bytes] = [noise.tobytes()]
        self._size = _RANDOM
        names = [f"{rng.choice(_WORDS)}{rng.randrange(100)}.example.{rng.choice(('com', 'net', 'org'))}" for _ in range(160)]
        self.requests = [self.add(_request(rng, rng.choice(names), "GET", rng.choice(_PATHS))) for _ in range(200)]
        self.posts = [self.add(_request(rng, rng.choice(names), "POST", "/form", _form(rng))) for _ in range(60)]
        self.injections = [self._injection(rng, rng.choice(names)) for _ in range(160)]
        self.responses = [self.add(_response(rng, size)) for size in (0, 180, 420, 900, 1400, 3000, 6000, 12000, 20000)]
        self.refusals = [
            self.add(_response(rng, size, rng.choice(("403 Forbidden", "500 Internal Server Error")))) for size in (150, 300, 900)
        ]
        self.hello = [self.add(_client_hello(rng, rng.choice(names))) for _ in range(60)]
        self.dns_a = [self._dns(rng, n, 1, rng.randint(1, 4)) for n in names]
        self.dns_aaaa = [self._dns(rng, n, 28, rng.randint(1, 3)) for n in names]
        self.dns_nx = [self._dns(rng, "x" + n, 1, 0) for n in names[:50]]
        self.tunnel = [self._tunnel(rng) for _ in range(300)]
        self.mdns = [self.add(_dns_bytes(n, 12, 0)) for n in ("_ipp._tcp.local", "_googlecast._tcp.local", "_airplay._tcp.local")]
        self.ssdp = self.add(b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 2\r\nST: ssdp:all\r\n\r\n')
        self.ntp_query = self.add(b"\x23" + bytes(39) + rng.randbytes(8))
        self.ntp_answer = self.add(b"\x24\x02\x06\xe8" + rng.randbytes(44))
        self._text: dict[str, Span] = {}
        self._rng = rng
        for line in _LINES:
            self._text[line] = self.add(line.encode() + b"\r\n")
        self.data = np.frombuffer(b"".join(self._parts), np.uint8)

    def add(self, data: bytes) -> Span:
        """Put bytes into the pool (while it is being built)."""
        self._parts.append(data)
        self._size += len(data)
        return self._size - len(data), len(data)

    def line(self, text: str) -> Span:
        """A known protocol line (``_LINES``)."""
        return self._text[text]

    def noise(self, rng: random.Random, length: int) -> Span:
        """``length`` bytes that look encrypted; lengths over ``BULK_STEP`` repeat by segments (:mod:`conversation`)."""
        return rng.randrange(_RANDOM - 2 * BULK_STEP), length

    def _injection(self, rng: random.Random, host: str) -> Span:
        attack = "&".join(rng.choice(_INJECTIONS) for _ in range(rng.randint(1, 4)))
        if rng.random() < 0.5:
            return self.add(_request(rng, host, "GET", f"{rng.choice(('/item', '/search', '/login.php'))}?{attack}"))
        return self.add(_request(rng, host, "POST", rng.choice(("/login", "/comment", "/search")), attack))

    def _dns(self, rng: random.Random, name: str, kind: int, answers: int) -> Dns:
        return Dns(self.add(_dns_bytes(name, kind, None)), self.add(_dns_bytes(name, kind, answers, rng)))

    def _tunnel(self, rng: random.Random) -> Dns:
        alphabet = "abcdefghijklmnopqrstuvwxyz234567"
        labels = ["".join(rng.choices(alphabet, k=rng.randint(14, 60))) for _ in range(rng.randint(1, 3))]
        name = ".".join([*labels, "t.example.net"])
        text = rng.randbytes(rng.randint(30, 220)).hex().encode()[: rng.randint(60, 250)]
        answer = _dns_bytes(name, 16, 1, rng, bytes([len(text)]) + text)
        return Dns(self.add(_dns_bytes(name, 16, None)), self.add(answer))


_LINES = (
    "SSH-2.0-OpenSSH_9.9",
    "SSH-2.0-OpenSSH_10.0p1 Debian-7",
    "SSH-2.0-libssh2_1.11.1",
    "220 FTP server ready",
    "USER admin",
    "331 Password required",
    "PASS letmein1",
    "530 Login incorrect",
    "230 Login successful",
    "QUIT",
    "221 Goodbye",
    "220 mail.example.org ESMTP",
    "EHLO client.example.com",
    "250-mail.example.org\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME",
    "MAIL FROM:<a@example.com>",
    "RCPT TO:<b@example.org>",
    "250 2.1.0 Ok",
    "DATA",
    "354 End data with <CR><LF>.<CR><LF>",
    "250 2.0.0 Ok: queued",
    "* OK IMAP4rev2 ready",
    "a1 LOGIN user pass",
    "a1 OK LOGIN completed",
    "a2 SELECT INBOX",
    "a3 IDLE",
    "+ idling",
    "a4 LOGOUT",
    "* BYE",
    "PING",
    "+PONG",
)


def _request(rng: random.Random, host: str, method: str, path: str, body: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"User-Agent: {rng.choice(_AGENTS)}", "Accept: */*"]
    if rng.random() < 0.6:
        lines.append("Accept-Encoding: gzip, deflate, br")
        lines.append(f"Cookie: session={rng.randbytes(rng.randint(8, 160)).hex()}")
    if body:
        lines += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def _form(rng: random.Random) -> str:
    return "&".join(f"{rng.choice(_WORDS)}={rng.randbytes(rng.randint(2, 20)).hex()}" for _ in range(rng.randint(1, 12)))


def _response(rng: random.Random, size: int, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: {size}\r\nConnection: keep-alive\r\n\r\n"
    return head.encode() + rng.randbytes(size)


def _client_hello(rng: random.Random, name: str) -> bytes:
    """A TLS 1.3 ClientHello (RFC 8446) with a server name and padding of a browser's size."""
    server = name.encode()
    sni = b"\x00\x00" + (len(server) + 5).to_bytes(2) + (len(server) + 3).to_bytes(2) + b"\x00" + len(server).to_bytes(2) + server
    share = b"\x00\x33\x00\x26\x00\x24\x00\x1d\x00\x20" + rng.randbytes(32)
    padding = rng.randrange(100, 380)
    extensions = sni + b"\x00\x2b\x00\x03\x02\x03\x04" + share + b"\x00\x15" + padding.to_bytes(2) + bytes(padding)
    suites = b"\x13\x01\x13\x02\x13\x03\xc0\x2b\xc0\x2f"
    body = b"\x03\x03" + rng.randbytes(32) + b"\x20" + rng.randbytes(32) + len(suites).to_bytes(2) + suites + b"\x01\x00"
    body += len(extensions).to_bytes(2) + extensions
    handshake = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + len(handshake).to_bytes(2) + handshake


def _dns_bytes(name: str, kind: int, answers: int | None, rng: random.Random | None = None, data: bytes = b"") -> bytes:
    """A DNS message (RFC 1035): a question when ``answers`` is None, else a response with that many records (0: NXDOMAIN)."""
    question = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\x00" + kind.to_bytes(2) + b"\x00\x01"
    if answers is None or rng is None:
        return b"\x00\x00\x01\x00\x00\x01" + bytes(6) + question
    head = b"\x00\x00" + (b"\x81\x80" if answers else b"\x81\x83") + b"\x00\x01" + answers.to_bytes(2) + bytes(4)
    size = {1: 4, 28: 16}.get(kind, len(data))
    records = b"".join(
        b"\xc0\x0c" + kind.to_bytes(2) + b"\x00\x01\x00\x00\x01\x2c" + size.to_bytes(2) + (data or rng.randbytes(size))
        for _ in range(answers)
    )
    return head + question + records
