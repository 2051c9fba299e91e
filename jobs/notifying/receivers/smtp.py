"""E-mail by SMTP (RFC 5321), with STARTTLS or TLS and a login."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from email.message import EmailMessage

from infra.errors import one_line
from jobs.notifying.notice import Notice
from jobs.notifying.receivers import broken
from jobs.notifying.receivers.outcome import ReceiverRefused, TryLater

#: Replies about the login, its want or its encryption (RFC 4954, section 6).
_LOGIN = frozenset({530, 534, 535, 538})


class SmtpReceiver:
    """Sends mail to some addresses; one connection a message.

    Parameters
    ----------
    host, port, security, ca, user, secret, sender, to, timeout_s
        As in the settings.
    shape
        Message -> mail.
    """

    def __init__(
        self,
        host: str,
        port: int,
        shape: Callable[[Notice], EmailMessage],
        *,
        sender: str,
        to: Sequence[str],
        security: str = "starttls",
        ca: str = "",
        user: str = "",
        secret: str = "",
        timeout_s: float = 10.0,
    ) -> None:
        self._host, self._port = host, port
        self._shape = shape
        self._sender, self._to = sender, list(to)
        self._security = security
        self._user, self._secret = user, secret
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context(cafile=ca or None) if security != "none" else None

    @property
    def where(self) -> str:
        return f"{self._host}:{self._port}"

    def shown(self, notice: Notice) -> str:
        return self._shape(notice).as_string()

    def send(self, notice: Notice) -> str:
        """Send it; an address that is refused while others are not is told in the answer."""
        mail = self._shape(notice)
        try:
            refused = self._sent(mail)
        except smtplib.SMTPRecipientsRefused as e:
            raise _judged(min(code for code, _ in e.recipients.values()), f"{self.where} refuses {_named(e.recipients)}") from e
        except smtplib.SMTPAuthenticationError as e:
            raise _judged(e.smtp_code, f"{self.where} does not let {self._user} log in: {_words(e.smtp_code, e.smtp_error)}") from e
        except smtplib.SMTPResponseException as e:
            raise _judged(e.smtp_code, f"{self.where}: {_words(e.smtp_code, e.smtp_error)}") from e
        except smtplib.SMTPNotSupportedError as e:
            raise ReceiverRefused(f"{self.where}: {one_line(e)}", "it offers no encryption or no login: see security, user, port") from e
        except (smtplib.SMTPException, OSError) as e:
            if isinstance(e, TimeoutError) or isinstance(e.__context__, TimeoutError):
                raise TryLater(f"{self.where} did not answer within {self._timeout_s:g} s", hint=broken.LATE) from e
            found = broken.why(e) or (broken.OFF if isinstance(e, smtplib.SMTPServerDisconnected) else None)
            raise TryLater(f"{self.where}: {found.words if found else one_line(e)}", hint=found.hint if found else "") from e
        return f"not for {_named(refused)}" if refused else "accepted"

    def _sent(self, mail: EmailMessage) -> dict[str, tuple[int, bytes]]:
        server = self._connected()
        try:
            if self._security == "starttls":
                server.starttls(context=self._tls)
            if self._user:
                server.login(self._user, self._secret)
            return server.send_message(mail, self._sender, self._to)
        finally:
            # Whatever comes of the farewell: a mail that was taken must not be sent again.
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
            server.close()

    def _connected(self) -> smtplib.SMTP:
        if self._security == "tls":
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=self._tls)
        return smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)


def _judged(code: int, said: str) -> ReceiverRefused | TryLater:
    """4yz is transient, 5yz is not (RFC 5321, section 4.2.1); what is no reply code is a server that broke off."""
    if not 500 <= code < 600:
        return TryLater(said, hint="it refuses for now: try again in some minutes")
    hint = "user and secret: see what it lets in" if code in _LOGIN else "sender, to: see what it lets through"
    return ReceiverRefused(said, hint)


def _named(refused: dict[str, tuple[int, bytes]]) -> str:
    return ", ".join(f"{address}: {_words(*answer)}" for address, answer in refused.items())


def _words(code: int, said: bytes | str) -> str:
    return one_line(f"{code} {said.decode(errors='replace') if isinstance(said, bytes) else said}")
