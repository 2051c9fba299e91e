"""Settings of notifications: the channels by which people and other systems are told.

A secret of a channel comes from the environment only: ``FLOWLAKE_NOTIFY__CHANNELS__<NAME>__SECRET``.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from infra.sections import Section
from schemas.incidents import Priority

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
#: One address: no comment, no quoted part, no character that a header or a list of addresses gives a meaning.
_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@\[[0-9A-Fa-f:.]+\]"
)


class ChannelSettings(Section):
    """What every kind of channel has."""

    min_priority: Priority = Field("LOW", description="incidents of a lower priority are not told")
    min_severity: int = Field(1, ge=1, le=5, description="incidents whose alerts are all of a lower severity are not told")
    kinds: tuple[str, ...] = Field(
        (), description="only these attack types (`SYN_FLOOD`, `*_BRUTE_FORCE`) or classes of them (`scan`, `flood`); empty: all"
    )
    per_minute: int = Field(30, ge=1, le=10_000, description="messages a minute at most; what is more is held back for the digest")
    digest_s: float = Field(300.0, ge=1, le=86_400, description="seconds from the first message held back to the digest of them")
    update_s: float = Field(
        0.0, ge=0, le=604_800, description="an incident that grows is told again after so many seconds; 0: only when its priority rises"
    )
    resolved: bool = Field(True, description="tell also when it is resolved, or was a false alarm")
    timeout_s: float = Field(10.0, gt=0, le=120, description="seconds that the receiver may take to answer")
    attempts: int = Field(15, ge=1, le=1000, description="attempts until a message is given up")
    retry_s: float = Field(5.0, gt=0, le=3600, description="seconds until the second attempt; doubled each time, with jitter")
    retry_most_s: float = Field(1800.0, gt=0, le=86_400, description="... up to so many")


class _HttpChannel(ChannelSettings):
    url: SecretStr = Field(SecretStr(""), description="where to post; only its host is ever shown")
    secret: SecretStr = Field(SecretStr(""), description="bearer token; empty: none")
    ca: str = Field("", description="PEM file of a private authority; empty: those of the system")

    @field_validator("url")
    @classmethod
    def _address(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        try:
            parts = urlsplit(text)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if text and (not usable or re.search(r"[\s\x00-\x1f\x7f]", text)):
            raise ValueError("no http:// or https:// address")  # which may hold a secret: not quoted
        if usable and "@" in parts.netloc:
            raise ValueError("a user or a password in the address is not sent; a token is named by secret, or stands in the path")
        return url


class WebhookChannel(_HttpChannel):
    """Posts JSON."""

    kind: Literal["webhook"]
    format: Literal["json", "ecs", "ocsf"] = Field("json", description="ours, Elastic Common Schema, or OCSF detection finding")


class SlackChannel(_HttpChannel):
    """An incoming webhook of Slack, or of what takes the same (Mattermost, Rocket.Chat)."""

    kind: Literal["slack"]


class PagerDutyChannel(_HttpChannel):
    """PagerDuty, Events API v2."""

    kind: Literal["pagerduty"]
    url: SecretStr = Field(SecretStr("https://events.pagerduty.com/v2/enqueue"), description="where to post; EU: events.eu.pagerduty.com")
    secret: SecretStr = Field(SecretStr(""), description="integration key of the service (routing key)")


class EmailChannel(ChannelSettings):
    """E-mail by an SMTP server."""

    kind: Literal["email"]
    host: str = Field("127.0.0.1", min_length=1, description="SMTP server")
    port: int = Field(587, ge=1, le=65535, description="its port")
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="STARTTLS (587), TLS from the start (465), or none")
    ca: str = Field("", description="PEM file of a private authority; empty: those of the system")
    user: str = Field("", description="user to log in as; empty: no login")
    secret: SecretStr = Field(SecretStr(""), description="the user's password")
    sender: str = Field("", description="address that mail comes from")
    to: tuple[str, ...] = Field((), description="addresses that it goes to")

    @field_validator("sender")
    @classmethod
    def _one(cls, text: str) -> str:
        return _address(text) if text else text

    @field_validator("to")
    @classmethod
    def _each(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_address(text) for text in texts)

    @model_validator(mode="after")
    def _login_in_secret(self) -> EmailChannel:
        if self.user and self.security == "none" and not _loopback(self.host):
            raise ValueError("user: a password is not sent without encryption; security: starttls or tls")
        return self


class SyslogChannel(ChannelSettings):
    """Syslog, RFC 5424, as a SIEM takes it."""

    kind: Literal["syslog"]
    host: str = Field("127.0.0.1", min_length=1, description="receiver")
    port: int = Field(514, ge=1, le=65535, description="its port; by TLS usually 6514")
    transport: Literal["udp", "tcp", "tls"] = Field("udp", description="UDP (nobody notices a loss), TCP or TLS with octet counting")
    ca: str = Field("", description="PEM file of a private authority; empty: those of the system")
    facility: int = Field(16, ge=0, le=23, description="facility; 16: local0")
    format: Literal["cef", "json", "ecs", "ocsf"] = Field("cef", description="of the message")


class KafkaChannel(ChannelSettings):
    """A topic of the broker of `kafka.bootstrap_servers`."""

    kind: Literal["kafka"]
    topic: str = Field("notifications", pattern=r"^[A-Za-z0-9._-]{1,200}$", description="topic, without `kafka.topic_prefix`")
    format: Literal["json", "ecs", "ocsf"] = Field("json", description="ours, Elastic Common Schema, or OCSF detection finding")


Channel = Annotated[
    WebhookChannel | SlackChannel | PagerDutyChannel | EmailChannel | SyslogChannel | KafkaChannel, Field(discriminator="kind")
]
#: Every kind of channel, for the reference.
CHANNELS: tuple[type[ChannelSettings], ...] = (WebhookChannel, SlackChannel, PagerDutyChannel, EmailChannel, SyslogChannel, KafkaChannel)


class NotifySettings(Section):
    """Notifications: who is told of incidents, by what (flowlake notify)."""

    channels: dict[str, Channel] = Field(
        default_factory=dict, description="name -> kind of channel and its settings ([kinds of channels](#kinds-of-channels))"
    )
    settle_s: float = Field(2.0, ge=0, le=600, description="seconds that an incident may change before it is told of")
    poll_s: float = Field(1.0, gt=0, le=60, description="seconds between two looks into the outbox")
    link: str = Field("", description="address of an incident on a page of yours, {id} stands for its id; empty: no link")

    @field_validator("channels")
    @classmethod
    def _named(cls, channels: dict[str, Any]) -> dict[str, Any]:
        for name in channels:
            if len(name) > 30 or not _NAME.fullmatch(name):
                raise ValueError(f"channel {name[:60]!r}: a name is small letters, digits and single underscores, 30 at most")
        return channels

    @field_validator("link")
    @classmethod
    def _template(cls, link: str) -> str:
        if link and (not link.startswith(("http://", "https://")) or "{id}" not in link or re.search(r"[\s<>\"|\x00-\x1f]", link)):
            raise ValueError(f"{link!r} is no http(s) address with {{id}} in it")
        return link


def _address(text: str) -> str:
    if len(text) > 254 or not _ADDRESS.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no e-mail address (name@host)")
    return text


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
