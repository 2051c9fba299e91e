"""The server of the page: a socket, TLS where it is wanted, and uvicorn until somebody stops it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import uvicorn

from infra.config import Settings
from infra.errors import ConfigError, StackError, one_line
from infra.names import printable
from ops.dash import app, guard, login
from ops.dash.connections import MOST, BoundedProtocol, HandshakeLoop
from ops.dash.site import Site


def serve(settings: Settings, cert: Path | None, key: Path | None, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Parameters
    ----------
    settings
        Section ``dash``: where, and with which password.
    cert, key
        PEM files of a certificate and its key; both or none.
    say
        Told the address, once requests are taken.

    Raises
    ------
    ConfigError
        Others can reach the page and there is no password; certificate and key do not fit.
    StackError
        The address cannot be bound.
    """
    dash = settings.dash
    host, password = bare(dash.host), dash.password.get_secret_value()
    logins = login.Logins(password) if login.required(dash.host, password, loopback=guard.is_loopback(host)) else None
    _check_tls(cert, key)
    with closing(_bound(host, dash.port)) as bound, closing(Site(settings)) as site:
        made = app.build(site, guard.own_names(host, dash.hosts), logins, secure=cert is not None)
        # Beyond so many all that are there are being answered: then "503", which is said, not a place in a queue.
        config = uvicorn.Config(
            made, http=BoundedProtocol, log_config=None, access_log=False, server_header=False, proxy_headers=False, lifespan="off",
            ws="none", limit_concurrency=MOST + 1, timeout_graceful_shutdown=2, ssl_certfile=cert, ssl_keyfile=key,
        )  # fmt: skip
        say(f"{address(host, bound.getsockname()[1], cert is not None)}   (Ctrl-C ends it)")
        if logins is not None and cert is None and not guard.is_loopback(host):
            say("without --cert the password crosses the network readable: put TLS before it")
        try:
            with asyncio.Runner(loop_factory=HandshakeLoop) as runner:
                runner.run(uvicorn.Server(config).serve(sockets=[bound]))
        except KeyboardInterrupt:
            say("stopped")


def bare(host: str) -> str:
    """An address as the system takes it: one of IPv6 may stand in brackets, as it does in a browser.

    Raises
    ------
    ConfigError
        A port stands behind it, or a bracket is missing.

    Examples
    --------
    >>> bare("[::1]"), bare("::1"), bare("localhost")
    ('::1', '::1', 'localhost')
    """
    inside = host.strip().removeprefix("[").removesuffix("]")
    whole = host.strip() == f"[{inside}]"
    if (whole and ":" in inside) or not any(sign in host for sign in "[]/"):
        return inside
    raise ConfigError(f"--host {host!r} is no address", "an address alone: 127.0.0.1, ::1, [::1]; the port is --port")


def address(host: str, port: int, secure: bool) -> str:
    """What to type into a browser.

    Examples
    --------
    >>> address("::", 8000, False), address("fe80::1%eth0", 8000, True)
    ('http://[::1]:8000/', 'https://[fe80::1%25eth0]:8000/')
    """
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host).replace("%", "%25")
    return f"{'https' if secure else 'http'}://{f'[{shown}]' if ':' in shown else shown}:{port}/"


def _check_tls(cert: Path | None, key: Path | None) -> None:
    if (cert is None) != (key is None):
        raise ConfigError("--cert and --key belong together", "give both: a certificate (PEM) and its private key")
    if cert is not None and key is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password=lambda: "")
        except (OSError, ssl.SSLError, ValueError) as e:
            hint = "two PEM files that belong together, the key without a password"
            raise ConfigError(f"--cert {cert}, --key {key}: {one_line(e)}", hint) from e


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, proto)
    except (OSError, ValueError) as e:  # ValueError: a name that is too long, or no text
        said = (e.strerror if isinstance(e, OSError) else "") or one_line(e)
        raise StackError(f"--host {printable(host)}: {said}", "an address of this machine, or 127.0.0.1") from e
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen(128)
    except OSError as e:
        bound.close()
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise StackError(f"the page cannot be served on {where}: {e.strerror}", "another --port, or 0 for a free one") from e
    return bound
