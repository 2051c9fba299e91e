"""Blocks as signed messages to somebody else's firewall.

``POST`` of JSON (:func:`message`). The header ``X-Flowlake-Signature: t=<seconds>,v1=<hex>`` holds the HMAC-SHA-256 of
``<seconds>.<body>``: the receiver computes it with the same secret, compares in constant time, and refuses a time that is minutes away.
``Idempotency-Key`` is the same for each attempt at one request: what was received already must not be done again. Any 2xx is taken for
done.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from infra.errors import ResponseError, one_line
from infra.sections import ResponseSettings
from jobs.response.addresses import Network, show
from jobs.response.responder import WEBHOOK, BlockOrder, Drift

SIGNATURE = "X-Flowlake-Signature"
KEY = "Idempotency-Key"
#: Answers after which the same message may be taken the next time (RFC 9110, RFC 6585).
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
#: Bytes of an answer that are read, for the error message.
_SAID = 500
_PAUSE_S = 0.2


@dataclass(frozen=True)
class _WebhookAnswer:
    """What came of an attempt; ``fault`` empty: it was taken."""

    fault: str
    passing: bool = False


class Webhook:
    """Sends each order; what it has done with it, the receiver knows."""

    name = WEBHOOK
    whole = False

    def __init__(self, settings: ResponseSettings) -> None:
        self._settings = settings
        self._parts = parts = urlsplit(settings.webhook_url)
        # Some services have a token in the path.
        self._where = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"

    def carry_out(self, order: BlockOrder, holding: Mapping[Network, float]) -> None:
        """Send the order, at most ``webhook_attempts`` times of ``webhook_timeout_s`` each."""
        body = json.dumps(message(order), sort_keys=True).encode()
        answer = _WebhookAnswer("no attempt")
        for attempt in range(self._settings.webhook_attempts):
            if attempt:
                time.sleep(_PAUSE_S * 2 ** (attempt - 1))
            answer = self._within(body, f"{order.block}:{order.action}:{order.asks}")
            if not answer.fault:
                return
            if not answer.passing:
                break
        raise ResponseError(
            f"webhook {self._where}: {answer.fault} (attempt {attempt + 1} of {self._settings.webhook_attempts})",
            "see that it is up and takes what is sent; then the same command again",
        )

    def mend(self, holding: Mapping[Network, float], *, only_look: bool = False) -> Drift:
        """The receiver cannot be asked."""
        return Drift()

    def _within(self, body: bytes, key: str) -> _WebhookAnswer:
        """One attempt. In a thread: a socket's time limit is one between two bytes, and a receiver may send one now and then."""
        connection, given_up = self._connection(), threading.Event()
        answers: list[_WebhookAnswer] = []
        thread = threading.Thread(target=lambda: answers.append(self._attempt(connection, given_up, body, key)), name=WEBHOOK, daemon=True)
        thread.start()
        thread.join(self._settings.webhook_timeout_s)
        given_up.set()
        if answers:
            return answers[0]
        with suppress(OSError, AttributeError):  # no socket yet
            connection.sock.shutdown(socket.SHUT_RDWR)
        return _WebhookAnswer(f"no answer within {self._settings.webhook_timeout_s:g} s", passing=True)

    def _connection(self) -> HTTPConnection:
        """To the address of the settings and nowhere else: no proxy of the environment, and redirects are not followed."""
        host, port, timeout = str(self._parts.hostname), self._parts.port, self._settings.webhook_timeout_s
        if self._parts.scheme == "http":
            return HTTPConnection(host, port, timeout=timeout)
        try:
            context = ssl.create_default_context(cafile=self._settings.webhook_ca or None)
        except OSError as e:
            raise ResponseError(f"response.webhook_ca {self._settings.webhook_ca}: {e.strerror}", "name a PEM file") from e
        return HTTPSConnection(host, port, timeout=timeout, context=context)

    def _attempt(self, connection: HTTPConnection, given_up: threading.Event, body: bytes, key: str) -> _WebhookAnswer:
        headers = {
            "Content-Type": "application/json",
            KEY: key,
            SIGNATURE: signature(body, self._settings.webhook_secret.get_secret_value(), int(time.time())),
        }
        path = f"{self._parts.path or '/'}{f'?{self._parts.query}' if self._parts.query else ''}"
        try:
            connection.connect()
            if given_up.is_set():
                return _WebhookAnswer("given up")
            connection.request("POST", path, body, headers)
            return _judged(connection.getresponse())
        except ssl.SSLError as e:
            return _WebhookAnswer(f"TLS: {e.reason or one_line(e)}")
        except (OSError, HTTPException) as e:
            return _WebhookAnswer(_why(e), passing=True)
        finally:
            connection.close()


def message(order: BlockOrder) -> dict[str, Any]:
    """What is sent: ``action`` (``block``, ``unblock``), ``address`` and, of a block, ``until`` and ``seconds``, after which it ends."""
    return {
        "version": 1,
        "action": order.action,
        "id": str(order.block),
        "address": show(order.network),
        "until": order.until.isoformat().replace("+00:00", "Z"),
        "seconds": round(order.seconds, 3),
        "by": order.by,
        "why": order.why,
        "alert": str(order.alert) if order.alert else None,
        "incident": str(order.incident) if order.incident else None,
    }


def signature(body: bytes, secret: str, seconds: int) -> str:
    """Value of the header: the time, and the HMAC of it and the body."""
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def _judged(answer: HTTPResponse) -> _WebhookAnswer:
    code = answer.status
    if 200 <= code < 300:
        return _WebhookAnswer("")
    if 300 <= code < 400:
        return _WebhookAnswer(f"it answers {code}, a redirect, which is not followed")
    said = one_line(answer.read(_SAID).decode("utf-8", "replace"), 120)
    return _WebhookAnswer(f"it answers {code}{f': {said}' if said else ''}", passing=code in _PASSING)


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return one_line(getattr(error, "strerror", None) or error, 120).lower()
