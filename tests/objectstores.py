"""Object stores of the tests beside SeaweedFS: MinIO where its program is found, certificates, and a proxy that fails as it is told."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.process import free_port, require_port
from infra.stack.s3 import ObjectStore

#: Of virtual-host addresses: ``bucket.s3.test``. Nobody resolves it; the proxy stands for its servers.
DOMAIN = "s3.test"


#: MinIO's program; the tests run without the caller's settings, and so it is looked for before they do.
MINIO = os.environ.get("FLOWLAKE_MINIO") or shutil.which("minio")


@dataclass
class Minio(ObjectStore):
    """MinIO, started as SeaweedFS is."""

    certificates: Path | None = None

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.certificates else 'http'}://127.0.0.1:{self.port}"

    def start(self, timeout_s: float = 60.0) -> bool:
        require_port(self.port, "MinIO", "lake.s3_endpoint")
        data = self.dir / "data"
        data.mkdir(parents=True, exist_ok=True)
        address = ["--address", f"127.0.0.1:{self.port}", "--console-address", f"127.0.0.1:{free_port()}"]
        folder = self.certificates or self.dir / "certificates"
        secret = {"MINIO_ROOT_USER": self.access_key, "MINIO_ROOT_PASSWORD": self.secret_key.get_secret_value(), "MINIO_DOMAIN": DOMAIN}
        argv = [str(MINIO), "server", "--quiet", *address, "--certs-dir", str(folder), str(data)]
        self.daemon.start(argv, env={**os.environ, **secret})
        self.daemon.wait_ready(self.ready, timeout_s)
        return True

    def ready(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass
class SecureSeaweed(ObjectStore):
    """SeaweedFS behind a certificate, or with virtual hosts."""

    certificates: Path | None = None

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.certificates else 'http'}://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def more(self) -> dict[str, str]:
        folder = self.certificates
        tls = {"s3.cert.file": str(folder / "public.crt"), "s3.key.file": str(folder / "private.key")} if folder else {}
        return {"s3.domainName": DOMAIN, **tls}


def certificates(folder: Path) -> Path:
    """Make an authority and a server's certificate for loopback, named as MinIO wants them; returns the authority's file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])

    def signed(name: str, key: Any, by: str, signer: Any, authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
        made = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(by)).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(9))
        made = made.add_extension(x509.BasicConstraints(authority, None), critical=True).add_extension(names, critical=False)
        # Strict clients (Python 3.13) want to know whose key signed.
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        return made.sign(signer, hashes.SHA256())

    folder.mkdir(parents=True, exist_ok=True)
    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "authority.pem").write_bytes(signed("tests", root, "tests", root, True).public_bytes(pem))
    (folder / "public.crt").write_bytes(signed("localhost", own, "tests", root, False).public_bytes(pem))
    (folder / "private.key").write_bytes(own.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder / "authority.pem"


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    host: str
    count: int  # of this method, from 1


#: What becomes of a request: None: it is passed on; a number: that status; "reset": nothing; "unheard": passed on, and no answer;
#: "slow": passed on after a second.
Fate = int | str | None


@dataclass
class Proxy:
    """Between clients and a store, on loopback: each request's fate is decided by a function. Also a forward proxy (for virtual hosts)."""

    upstream: str
    fate: Callable[[Request], Fate] = lambda _: None
    seen: list[tuple[Request, Fate]] = field(default_factory=list)
    url: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def decide(self, method: str, path: str, host: str) -> Fate:
        with self.lock:
            self.counts[method] = self.counts.get(method, 0) + 1
            request = Request(method, path, host, self.counts[method])
            fate = self.fate(request)
            self.seen.append((request, fate))
        return fate


_SLOW_DOWN = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    target = urlsplit(proxy.upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def passes(self) -> None:
            place = urlsplit(self.path)
            path = place._replace(scheme="", netloc="").geturl() or "/"
            fate = proxy.decide(self.command, path, self.headers.get("Host", ""))
            if fate == "reset":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if isinstance(fate, int):
                self.answer(fate, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else _SLOW_DOWN)
                return
            if fate == "slow":
                threading.Event().wait(1.0)
            connection = http.client.HTTPConnection(str(target.hostname), target.port or 80, timeout=60)
            connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "proxy-connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            said = connection.getresponse()
            content = said.read()
            connection.close()
            if fate == "unheard":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            kept = [(k, v) for k, v in said.getheaders() if k.lower() not in ("connection", "transfer-encoding", "content-length")]
            length = said.getheader("Content-Length") if self.command == "HEAD" else None
            self.answer(said.status, kept, content, length)

        def answer(self, status: int, headers: list[tuple[str, str]], content: bytes, length: str | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if status not in (204, 304):
                self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = passes

        def log_message(self, *_: Any) -> None:
            """Silent."""

    return Handler


@contextmanager
def between(upstream: str) -> Iterator[Proxy]:
    """A proxy in front of a store."""
    proxy = Proxy(upstream)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy))
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
