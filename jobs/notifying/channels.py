"""Channels of the settings as receivers; what is missing is said at the start, by the name of the setting."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from infra.channels import (
    ChannelSettings,
    EmailChannel,
    KafkaChannel,
    PagerDutyChannel,
    SlackChannel,
    SyslogChannel,
    WebhookChannel,
)
from infra.config import PREFIX, Settings
from infra.errors import ConfigError
from jobs.notifying.formats import cef, ecs, mail, ocsf, pagerduty, slack
from jobs.notifying.notice import VERSION, Notice
from jobs.notifying.receivers.deadline import Deadline
from jobs.notifying.receivers.http import HttpReceiver
from jobs.notifying.receivers.kafka import KafkaReceiver
from jobs.notifying.receivers.outcome import Receiver
from jobs.notifying.receivers.smtp import SmtpReceiver
from jobs.notifying.receivers.syslog import SyslogReceiver

_JSON: Mapping[str, Callable[[Notice], dict[str, Any]]] = {"json": Notice.plain, "ecs": ecs.document, "ocsf": ocsf.finding}
#: What a message of Kafka says that it is.
_CONTENT = {
    "json": f"application/vnd.flowlake.notification+json; v={VERSION}",
    "ecs": f"application/json; schema=ecs; v={ecs.ECS_VERSION}",
    "ocsf": f"application/json; schema=ocsf; v={ocsf.OCSF_VERSION}",
}


def receivers(settings: Settings) -> dict[str, Receiver]:
    """The receivers of all channels, by name.

    Raises
    ------
    ConfigError
        There is none, or one lacks what it needs.
    """
    if not settings.notify.channels:
        raise ConfigError("notify.channels is empty: there is nobody to tell", "docs/how-to/be-told.md shows how to declare a channel")
    return {name: receiver(settings, name) for name in settings.notify.channels}


def receiver(settings: Settings, name: str) -> Receiver:
    """The receiver of a channel.

    Raises
    ------
    ConfigError
        There is no such channel, or it lacks what it needs.
    """
    channel = settings.notify.channels.get(name)
    if channel is None:
        known = ", ".join(settings.notify.channels) or "none"
        raise ConfigError(f"there is no channel {name!r}", f"channels of notify.channels: {known}")
    _check_kinds(settings, name, channel)
    _check_file(name, channel)
    return Deadline(_made(settings, name, channel), channel.timeout_s)


def _made(settings: Settings, name: str, channel: ChannelSettings) -> Receiver:
    match channel:
        case PagerDutyChannel():
            key = _secret(name, channel)
            return HttpReceiver(
                _url(name, channel), lambda notice: pagerduty.event(notice, key), ca=channel.ca, timeout_s=channel.timeout_s, hide=(key,)
            )
        case SlackChannel():
            token = _token(name, channel)
            return HttpReceiver(_url(name, channel), slack.message, secret=token, ca=channel.ca, timeout_s=channel.timeout_s)
        case WebhookChannel():
            token = _token(name, channel)
            return HttpReceiver(_url(name, channel), _JSON[channel.format], secret=token, ca=channel.ca, timeout_s=channel.timeout_s)
        case EmailChannel():
            return _email(name, channel)
        case SyslogChannel():
            return SyslogReceiver(
                channel.host, channel.port, _text(channel.format), transport=channel.transport, ca=channel.ca, facility=channel.facility,
                timeout_s=channel.timeout_s,
            )  # fmt: skip
        case KafkaChannel():
            topic = settings.topic(channel.topic)
            return KafkaReceiver(settings.kafka, topic, _JSON[channel.format], _CONTENT[channel.format], channel.timeout_s)
    raise ValueError(f"channel {name} is of no known kind")


def _email(name: str, channel: EmailChannel) -> Receiver:
    for field, value in (("sender", channel.sender), ("to", channel.to)):
        if not value:
            raise _missing(name, field, "an address" if field == "sender" else "one or more addresses")
    secret = _secret(name, channel) if channel.user else ""
    return SmtpReceiver(
        channel.host, channel.port, lambda notice: mail.mail(notice, channel.sender, channel.to), sender=channel.sender, to=channel.to,
        security=channel.security, ca=channel.ca, user=channel.user, secret=secret, timeout_s=channel.timeout_s,
    )  # fmt: skip


def _text(form: str) -> Callable[[Notice], str]:
    import json

    if form == "cef":
        return cef.event
    return lambda notice: json.dumps(_JSON[form](notice), ensure_ascii=False, separators=(",", ":"))


def _url(name: str, channel: WebhookChannel | SlackChannel | PagerDutyChannel) -> str:
    url = channel.url.get_secret_value()
    if not url:
        raise _missing(name, "url", "where to post")
    return url


def _token(name: str, channel: WebhookChannel | SlackChannel) -> str:
    """The bearer token; what no header can hold is refused here, since the client's own error would quote it."""
    token = channel.secret.get_secret_value()
    if not re.fullmatch(r"[!-~]*", token):
        raise ConfigError(
            f"notify.channels.{name}.secret holds a blank, a line break or a letter beyond ASCII: no bearer token does",
            f"look at {PREFIX}NOTIFY__CHANNELS__{name.upper()}__SECRET: a file's last line break may have come with it",
        )
    return token


def _secret(name: str, channel: PagerDutyChannel | EmailChannel) -> str:
    secret = channel.secret.get_secret_value()
    if not secret:
        raise ConfigError(
            f"notify.channels.{name}.secret is empty: {type(channel).model_fields['secret'].description}",
            f"export {PREFIX}NOTIFY__CHANNELS__{name.upper()}__SECRET=...",
        )
    return secret


def _missing(name: str, field: str, what: str) -> ConfigError:
    return ConfigError(
        f"notify.channels.{name}.{field} is empty: {what}",
        f"set it in the configuration file, or by {PREFIX}NOTIFY__CHANNELS__{name.upper()}__{field.upper()}",
    )


def _check_file(name: str, channel: ChannelSettings) -> None:
    path = getattr(channel, "ca", "")
    if not path:
        return
    try:
        ssl.create_default_context(cafile=path)
    except OSError as e:  # which what is no certificate raises, too
        cause = "holds no certificate" if isinstance(e, ssl.SSLError) else f"cannot be read: {e.strerror}"
        raise ConfigError(f"notify.channels.{name}.ca: {path} {cause}", "name a PEM file of the authority") from e


def classes(settings: Settings) -> dict[str, str]:
    """Attack type -> class of attacks, of all sources."""
    return {label: about.kind for record in settings.catalogue.records if record.alerts for label, about in record.alerts.by_name.items()}


def _check_kinds(settings: Settings, name: str, channel: ChannelSettings) -> None:
    """A filter that no attack type can pass is a mistake."""
    known = classes(settings)
    for word in channel.kinds:
        if word.lower() not in known.values() and not any(fnmatchcase(label.upper(), word.upper()) for label in known):
            names = sorted({*known, *known.values()} - {"benign", "BENIGN"})
            raise ConfigError(
                f"notify.channels.{name}.kinds: {word!r} is no attack type and no class of them", f"known: {', '.join(names)}"
            )
