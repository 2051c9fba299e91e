"""HTTP: one POST of JSON a message, with an ``Idempotency-Key`` that is the same at every attempt.

(The header: draft-ietf-httpapi-idempotency-key-header; ``Retry-After``: RFC 9110, section 10.2.3.)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from infra.errors import one_line
from jobs.notifying.notice import Notice
from jobs.notifying.receivers import broken
from jobs.notifying.receivers.outcome import ReceiverRefused, TryLater

#: Answers after which the same request may succeed, beside 5xx.
_PASSING = frozenset({408, 425, 429})
#: Bytes of an answer that are read, to quote it.
_QUOTED = 300
#: Seconds that ``Retry-After`` may ask for.
_MOST_LATER_S = 3600.0


class HttpReceiver:
    """Posts what a function makes of a message.

    Parameters
    ----------
    url, secret, ca, timeout_s
        As in the settings; ``secret`` is sent as bearer token.
    shape
        Message -> JSON.
    hide
        Further secrets that an answer might quote.
    """

    def __init__(
        self,
        url: str,
        shape: Callable[[Notice], Any],
        *,
        secret: str = "",
        ca: str = "",
        timeout_s: float = 10.0,
        hide: tuple[str, ...] = (),
    ) -> None:
        self._url = url
        self._shape = shape
        self._secret = secret
        self._verify: bool | str = ca or True
        self._timeout_s = timeout_s
        parts = urlsplit(url)
        #: What must not be in what is told of an answer, longest first.
        self._hide = sorted({url, f"{parts.path}?{parts.query}", parts.path, parts.query, secret, *hide} - {"", "/", "?", "/?"}, key=len)[
            ::-1
        ]

    @property
    def where(self) -> str:
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"

    def shown(self, notice: Notice) -> str:
        return self._hidden(json.dumps(self._shape(notice), indent=1, ensure_ascii=False))

    def send(self, notice: Notice) -> str:
        """Post it; redirects are not followed: whoever owns the first address must not choose who gets the message."""
        try:
            with requests.post(
                self._url,
                data=json.dumps(self._shape(notice), ensure_ascii=False, separators=(",", ":")).encode(),
                headers={"Content-Type": "application/json; charset=utf-8", "User-Agent": "flowlake", "Idempotency-Key": notice.id},
                auth=self._authorised,
                timeout=self._timeout_s,
                verify=self._verify,
                allow_redirects=False,
                stream=True,
            ) as answer:
                return self._judged(answer)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.InvalidHeader) as e:
            raise ReceiverRefused(self._without_address(e)) from e
        except requests.exceptions.Timeout as e:
            raise TryLater(f"{self.where} did not answer within {self._timeout_s:g} s", hint=broken.LATE) from e
        except (requests.exceptions.RequestException, OSError) as e:
            if found := broken.why(e):
                raise TryLater(f"{self.where}: {self._hidden(found.words)}", hint=found.hint) from e
            raise TryLater(f"{self.where}: {self._without_address(e)}") from e

    def _authorised(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # A function, so that no .netrc puts another login in its place.
        if self._secret:
            request.headers["Authorization"] = f"Bearer {self._secret}"
        return request

    def _judged(self, answer: requests.Response) -> str:
        code = answer.status_code
        if 200 <= code < 300:
            return str(code)
        said = f"{self.where} answered {code} {answer.reason or ''}".rstrip()
        if 300 <= code < 400:
            to = urlsplit(answer.headers.get("Location", ""))
            elsewhere = f"{to.scheme}://{to.hostname}" if to.hostname else "another path"
            raise ReceiverRefused(f"{said}: it sends on to {elsewhere}, which is not followed; set url to the address that it is to be")
        said = f"{said}: {one_line(self._hidden(_beginning(answer)))}".removesuffix(": ")
        if code >= 500 or code in _PASSING:
            raise TryLater(said, _retry_after(answer.headers.get("Retry-After", "")))
        raise ReceiverRefused(said)

    def _without_address(self, error: Exception) -> str:
        """What went wrong, without the path, which may be a secret."""
        words = self._hidden(str(error))
        cause = words.rsplit("Caused by ", 1)[-1] if "Caused by " in words else words
        return one_line(cause.strip("()") or type(error).__name__)

    def _hidden(self, words: str) -> str:
        for secret in self._hide:
            words = words.replace(secret, "...")
        return words


def _beginning(answer: requests.Response) -> str:
    try:
        return str(answer.raw.read1(_QUOTED, decode_content=True).decode(errors="replace"))
    except Exception:  # an answer that cannot be read says no more than its code
        return ""


def _retry_after(text: str) -> float | None:
    """Seconds; ``None`` for what is neither a number nor a date."""
    try:
        seconds = float(text) if text.strip().isdigit() else (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), _MOST_LATER_S)
