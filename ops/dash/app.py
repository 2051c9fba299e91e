"""The pages over HTTP: addresses, logins, answers. What is behind them: :mod:`ops.dash.site`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Match, Route

from infra.errors import ConfigError, FlowlakeError, one_line
from infra.log import get
from infra.plurals import counted
from ops.dash import pages, site
from ops.dash import span as spans
from ops.dash.connections import client
from ops.dash.guard import Guard
from ops.dash.login import COOKIE, SESSION_S, Logins
from ops.dash.span import PageSpan

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ops.dash.site import Board, Site

_YEAR = "public, max-age=31536000, immutable"
_MAX_FORM = 4096
_log = get("flowlake.dash")


def build(made: Site, names: frozenset[str], logins: Logins | None, secure: bool) -> Starlette:
    """The application.

    Parameters
    ----------
    made
        What it shows.
    names
        Names that browsers may call it by (:func:`ops.dash.guard.own_names`).
    logins
        None: nobody has to log in.
    secure
        Whether it is served over TLS.
    """
    shown = _Pages(made, logins, secure)
    routes = [
        Route("/", shown.first),
        Route("/view/{name}", shown.view),
        Route("/view/{name}/panels", shown.view_panels),
        Route("/incident/{key}", partial(shown.story, "incident")),
        Route("/incident/{key}/panels", partial(shown.story_panels, "incident")),
        Route("/alert/{key}", partial(shown.story, "alert")),
        Route("/alert/{key}/panels", partial(shown.story_panels, "alert")),
        Route("/api/views", shown.api_views),
        Route("/api/view/{name}", shown.api_view),
        Route("/static/{name}", shown.static),
        Route("/health", shown.health),
        Route("/login", shown.login, methods=["GET", "POST"]),
        Route("/logout", shown.logout, methods=["POST"]),
    ]
    guard = Middleware(Guard, names=names, logins=logins, secure=secure, refuse=refused)
    handlers: dict[Any, Callable[..., Any]] = {HTTPException: _not_found, FlowlakeError: _failed}
    middleware = [guard, Middleware(_OneLine), Middleware(GZipMiddleware, minimum_size=1000)]
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
    app.router.redirect_slashes = False  # it would lead to http:// also where TLS is before this server: see _not_found
    return app


def refused(request: Request, status: int, message: str, hint: str) -> Response:
    """What is said instead of a page: to programs as JSON."""
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"error": message, "hint": hint}, status)
    return HTMLResponse(pages.page("message.html", title="flowlake", message=message, hint=hint), status)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return refused(request, 405, f"{request.method} is not possible here", "this page only reads")
    if place := _without_slash(request):
        return RedirectResponse(place, 307)
    return refused(request, error.status_code, f"there is no page {request.url.path[:100]}", "begin at /")


def _without_slash(request: Request) -> str:
    """Where a page is that was asked for with a slash at its end, as a path of this server; empty: there is none."""
    path = "/" + request.url.path.strip("/")  # of //name/ a browser would take the name for a server
    known = path != request.url.path and any(
        route.matches({**request.scope, "path": path})[0] == Match.FULL for route in request.app.routes
    )
    return f"{path}{f'?{request.url.query}' if request.url.query else ''}" if known else ""


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, FlowlakeError)
    status = 404 if isinstance(error, site.NoSuchPageError) else 400 if isinstance(error, ConfigError) else 503
    return refused(request, status, str(error), error.hint)


class _OneLine:
    """ASGI middleware: what nobody expected is a line of the log. Starlette's own handler raises it again, which is a stack trace."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            return  # in the middle of a form: nobody is there to hear of it
        except Exception as e:
            _log.error("a page failed", path=scope["path"], cause=f"{type(e).__name__}: {one_line(e)}")
            if not begun:
                await refused(Request(scope), 500, "this page failed", "the server's log says why")(scope, receive, send)


class _Pages:
    """What each address answers."""

    def __init__(self, made: Site, logins: Logins | None, secure: bool) -> None:
        self._site = made
        self._logins = logins
        self._secure = secure

    def first(self, request: Request) -> Response:
        return RedirectResponse(f"/view/{self._site.views()[0].name}", 303)

    def view(self, request: Request) -> Response:
        view = self._site.view(request.path_params["name"])
        span, variables = _span(request, view.span), site.variables_of(view, request.query_params)
        board = self._site.board(view, span, variables)
        return self._page(
            request, board, span, current=view.name, view=view, variables=variables, sensors=_shown(self._site.sensors(), span),
            live=span.live and view.refresh != "", own_query=partial(site.own_query, span, variables),
        )  # fmt: skip

    def view_panels(self, request: Request) -> Response:
        view = self._site.view(request.path_params["name"])
        span = _span(request, view.span)
        return JSONResponse(self._site.board(view, span, site.variables_of(view, request.query_params)).told())

    def story(self, what: str, request: Request) -> Response:
        span = _span(request)
        return self._page(request, self._story(what, request, span), span, current="alerts", view=None, live=True)

    def story_panels(self, what: str, request: Request) -> Response:
        return JSONResponse(self._story(what, request, _span(request)).told())

    def api_views(self, request: Request) -> Response:
        return JSONResponse([{"name": view.name, "title": view.title, "description": view.description} for view in self._site.views()])

    def api_view(self, request: Request) -> Response:
        view = self._site.view(request.path_params["name"])
        return JSONResponse(self._site.data(view, _span(request, view.span), site.variables_of(view, request.query_params)))

    def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in pages.STATIC:
            raise HTTPException(404)
        return Response(pages.static(name), media_type=pages.STATIC[name], headers={"Cache-Control": _YEAR})

    def health(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def login(self, request: Request) -> Response:
        if self._logins is None:
            return RedirectResponse("/", 303)
        if request.method != "POST":
            return HTMLResponse(pages.page("login.html", title="Log in", next=_within(request.query_params.get("next", "/")), problem=""))
        form = await _form(request)
        address, to = _address(request), _within(form.get("next", "/"))
        if wait := self._logins.wait(address):
            problem = f"Too many wrong passwords. Try again in {counted(wait, 'second')}."
            return self._again(to, problem, 429, {"Retry-After": str(wait)})
        if not self._logins.right(address, form.get("password", "")):
            _log.warning("wrong password", address=address)
            return self._again(to, "That is not the password.", 401)
        answer = RedirectResponse(to, 303)
        word = self._logins.begin()
        answer.set_cookie(COOKIE, word, max_age=SESSION_S, path="/", secure=self._secure, httponly=True, samesite="strict")
        return answer

    def _again(self, to: str, problem: str, status: int, headers: dict[str, str] | None = None) -> Response:
        return HTMLResponse(pages.page("login.html", title="Log in", next=to, problem=problem), status, headers)

    def logout(self, request: Request) -> Response:
        if self._logins is not None:
            self._logins.end(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, path="/", secure=self._secure, httponly=True, samesite="strict")
        return answer

    def _story(self, what: str, request: Request, span: PageSpan) -> Board:
        asked = self._site.incident if what == "incident" else self._site.alert
        return asked(request.path_params["key"], span)

    def _page(self, request: Request, board: Board, span: PageSpan, **values: Any) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        return HTMLResponse(
            pages.page(
                "board.html", title=board.title, heading=board.title, about=board.about, at=board.at, problem=board.problem,
                panels=board.panels, panels_at=f"{request.url.path}/panels{query}", refresh_s=self._site.settings.dash.refresh_s,
                views=self._site.views(), span=span, ranges=spans.RANGES, range_name=spans.name(span), logged_in=self._logins is not None,
                **values,
            )
        )  # fmt: skip


def _span(request: Request, opens_with: str = "") -> PageSpan:
    asked = request.query_params
    return spans.read(asked.get("from") or opens_with, asked.get("to", ""), [*asked.getlist("sensor"), *asked.getlist("var-sensor")])


def _shown(sensors: list[str], span: PageSpan) -> list[str]:
    """What can be chosen, with what was, even where it is no longer there."""
    return sorted({*sensors, *span.sensors})


async def _form(request: Request) -> dict[str, str]:
    """A small form, as a browser sends it; the last value of a name."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _MAX_FORM:
            raise ConfigError("this form is too long", "log in with the password alone")
    try:
        fields = parse_qs(content.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10)
    except ValueError as e:
        raise ConfigError("this form has more than 10 fields", "log in with the password alone") from e
    return {name: values[-1] for name, values in fields.items()}


def _within(target: str) -> str:
    """Where to go after the login: a path of this server, whatever was asked for."""
    safe = target.startswith("/") and not target.startswith(("//", "/\\")) and not any(c in target for c in "\r\n\t\\")
    return target if safe and not target.startswith(("/login", "/logout")) else "/"


def _address(request: Request) -> str:
    """Who asks, for the limit of tries."""
    return client(request.client.host if request.client else "")
