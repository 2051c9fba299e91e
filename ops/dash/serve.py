"""The server of the page: a socket, TLS where it is wanted, and uvicorn until somebody stops it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import uvicorn

from infra.config import Settings
from infra.errors import ConfigError, StackError, one_line
from ops.dash import app, guard, login
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
    password = dash.password.get_secret_value()
    logins = login.Logins(password) if login.required(dash.host, password, loopback=guard.is_loopback(dash.host)) else None
    _check_tls(cert, key)
    with closing(_bound(dash.host, dash.port)) as bound, closing(Site(settings)) as site:
        made = app.build(site, guard.own_names(dash.host, dash.hosts), logins, secure=cert is not None)
        config = uvicorn.Config(
            made, log_config=None, access_log=False, server_header=False, proxy_headers=False, lifespan="off", ws="none",
            limit_concurrency=200, timeout_graceful_shutdown=2, ssl_certfile=cert, ssl_keyfile=key,
        )  # fmt: skip
        say(f"{address(dash.host, bound.getsockname()[1], cert is not None)}   (Ctrl-C ends it)")
        if logins is not None and cert is None and not guard.is_loopback(dash.host):
            say("without --cert the password crosses the network readable: put TLS before it")
        try:
            uvicorn.Server(config).run(sockets=[bound])
        except KeyboardInterrupt:
            say("stopped")


def address(host: str, port: int, secure: bool) -> str:
    """What to type into a browser."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
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
    except OSError as e:
        raise StackError(f"--host {host}: {e.strerror}", "an address of this machine, or 127.0.0.1") from e
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen(128)
    except OSError as e:
        bound.close()
        raise StackError(f"the page cannot be served on {host}:{port}: {e.strerror}", "another --port, or 0 for a free one") from e
    return bound
