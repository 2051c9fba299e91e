"""Syslog: RFC 5424 over UDP (RFC 5426), TCP and TLS with octet counting (RFC 6587, RFC 5425)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime

from infra.errors import one_line
from jobs.notifying.notice import Notice
from jobs.notifying.receivers import broken
from jobs.notifying.receivers.outcome import ReceiverRefused, TryLater

#: Bytes of one message. By UDP more would not fit into one datagram of every network; receivers must take 2048 (RFC 5424, section 6.1).
MAX_UDP, MAX_STREAM = 2048, 65_536
#: Priority LOW .. CRITICAL -> severity of syslog: notice, warning, error, critical (RFC 5424, table 2).
_SEVERITIES = (5, 4, 3, 2)
_INFORMATIONAL = 6
#: Seconds in which the receiver of a stream may still object.
_OBJECTION_S = 0.2


def framed(notice: Notice, text: str, *, facility: int, host: str, most: int) -> bytes:
    """A message with its head, cut to so many bytes.

    Parameters
    ----------
    notice
        Gives severity, time and kind of message.
    text
        What it says; one line of UTF-8.
    facility
        0 .. 23.
    host
        Who says it.
    most
        Bytes.
    """
    severity = _INFORMATIONAL if notice.over or notice.news == "test" else _SEVERITIES[notice.degree]
    at = datetime.fromisoformat(notice.at).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = "".join(c for c in host if "!" <= c <= "~")[:255] or "-"
    head = f"<{facility * 8 + severity}>1 {at} {name} flowlake - {notice.news} - ".encode()
    # No byte order mark before the text, though RFC 5424 wants one before UTF-8: readers of CEF look for "CEF:" at its beginning.
    return head + text.encode()[: most - len(head)].decode(errors="ignore").encode()


class SyslogReceiver:
    """Sends to one receiver; one connection a message by TCP and TLS.

    Syslog has no answer. By TCP and TLS a receiver that is away or breaks off is noticed; by UDP nothing is.
    """

    def __init__(
        self,
        host: str,
        port: int,
        shape: Callable[[Notice], str],
        *,
        transport: str = "udp",
        ca: str = "",
        facility: int = 16,
        timeout_s: float = 10.0,
    ) -> None:
        self._host, self._port = host, port
        self._shape = shape
        self._transport = transport
        self._facility = facility
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context(cafile=ca or None) if transport == "tls" else None

    @property
    def where(self) -> str:
        return f"{self._transport}://{self._host}:{self._port}"

    def shown(self, notice: Notice) -> str:
        return self._framed(notice).decode()

    def send(self, notice: Notice) -> str:
        """Send it; returns ``sent``: nobody says more."""
        message = self._framed(notice)
        try:
            if self._transport == "udp":
                self._datagram(message)
            else:
                self._stream(b"%d %s" % (len(message), message))
        except TimeoutError as e:
            raise TryLater(f"{self.where} did not answer within {self._timeout_s:g} s", hint=broken.LATE) from e
        except UnicodeError as e:
            raise ReceiverRefused(f"{self.where}: no name of a host") from e
        except OSError as e:
            found = broken.why(e)
            raise TryLater(f"{self.where}: {found.words if found else one_line(e)}", hint=found.hint if found else "") from e
        return "sent"

    def _framed(self, notice: Notice) -> bytes:
        most = MAX_UDP if self._transport == "udp" else MAX_STREAM
        return framed(notice, self._shape(notice), facility=self._facility, host=socket.gethostname(), most=most)

    def _datagram(self, message: bytes) -> None:
        family, kind, protocol, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as out:
            out.sendto(message, address)

    def _stream(self, message: bytes) -> None:
        with socket.create_connection((self._host, self._port), timeout=self._timeout_s) as plain:
            out = self._tls.wrap_socket(plain, server_hostname=self._host) if self._tls else plain
            with out:
                out.sendall(message)
                if self._tls is None:
                    out.shutdown(socket.SHUT_WR)
                # A receiver that has closed its end answers with a reset, which is an error here; most say nothing.
                out.settimeout(_OBJECTION_S)
                try:
                    out.recv(1)
                except TimeoutError:
                    return
