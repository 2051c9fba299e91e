"""What every request passes first: the host's name, the method, the login; and the headers that every answer has.

Host names are checked against DNS rebinding: a page of a stranger whose name was turned to this machine must not read what is here. An
address cannot be turned, so addresses are let through.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ops.dash.login import COOKIE, Logins

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Nothing from elsewhere, no script or style inside a page, no frame around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: tuple[tuple[str, str], ...] = (
    ("Content-Security-Policy", POLICY),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)
#: What may be sent to the server, and the pages that are seen without a login.
_POSTS = ("/login", "/logout")
_OPEN = ("/login", "/health")
_STATIC = "/static/"
_MAX_TARGET = 8192


def own_names(host: str, configured: Sequence[str]) -> frozenset[str]:
    """Names by which a browser may call this server, in small letters; addresses need none."""
    return frozenset(name.lower().rstrip(".") for name in ("localhost", host, socket.gethostname(), *configured) if name)


def is_loopback(host: str) -> bool:
    """Whether an address or name of this machine can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def may_be_called(header: str, names: frozenset[str]) -> bool:
    """Whether a Host header names this server.

    Examples
    --------
    >>> may_be_called("127.0.0.1:8000", frozenset()), may_be_called("[::1]:8000", frozenset()), may_be_called("evil.example", frozenset())
    (True, True, False)
    """
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?", header)
    if found is None:
        return False
    name = found[1].lower().strip("[]").rstrip(".")
    try:
        ip_address(name)
    except ValueError:
        return name in names
    return True


class Guard:
    """ASGI middleware; see the module.

    Parameters
    ----------
    app
        What answers a request that is let through.
    names
        See :func:`own_names`.
    logins
        None: no login is wanted.
    secure
        Whether the server speaks TLS itself.
    refuse
        Makes the page of a refusal: request, status, message, hint.
    """

    def __init__(
        self,
        app: ASGIApp,
        names: frozenset[str],
        logins: Logins | None,
        secure: bool,
        refuse: Callable[[Request, int, str, str], Response],
    ) -> None:
        self._app = app
        self._names = names
        self._logins = logins
        self._headers = [*HEADERS, *([("Strict-Transport-Security", "max-age=31536000")] if secure else [])]
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [(name, value) for name, value in message["headers"] if name.lower() != b"server"]
                kept = [] if any(name.lower() == b"cache-control" for name, _ in given) else [(b"cache-control", b"no-store")]
                message = {**message, "headers": [*given, *kept, *((n.encode(), v.encode()) for n, v in self._headers)]}
            await send(message)

        from starlette.requests import Request

        request = Request(scope)
        answer = self._refusal(request)
        await (answer or self._app)(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not may_be_called(hosts[0], self._names):
            called = hosts[0] if hosts else ""
            hint = 'call it by its address, or let it know its name: FLOWLAKE_DASH__HOSTS=["name"]'
            said = f"this server is not called {called[:100]!r}"
            return self._refuse(request, 421, said, hint)
        path = request.url.path
        if request.method not in ("GET", "HEAD") and not (request.method == "POST" and path in _POSTS):
            return self._refuse(request, 405, f"{request.method} is not possible here", "this page only reads")
        if request.method == "POST" and not _same_origin(request, hosts[0]):
            return self._refuse(request, 403, "this form was sent by another page", "open the page itself, and send it from there")
        if len(request.url.query) + len(path) > _MAX_TARGET:
            return self._refuse(request, 414, "this address is too long", "leave sensors out")
        if self._logins is None or path in _OPEN or path.startswith(_STATIC):
            return None
        return None if self._logins.known(request.cookies.get(COOKIE, "")) else self._to_login(request)

    def _to_login(self, request: Request) -> Response:
        from starlette.responses import RedirectResponse

        if "text/html" not in request.headers.get("accept", ""):
            return self._refuse(request, 401, "not logged in", "log in at /login; a session lasts twelve hours")
        from urllib.parse import quote

        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(target, safe='')}", 303)


def _same_origin(request: Request, host: str) -> bool:
    """A form of our own page says where it comes from, or nothing; Sec-Fetch-Site no page can set."""
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    return origin is None or origin.partition("://")[2] == host
