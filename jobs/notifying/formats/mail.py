"""E-mail: a message of plain text and HTML (RFC 5322, RFC 2046).

``Message-ID`` is that of the message and the same at every attempt; ``References`` is one for all messages about one incident, so that
readers show them as one conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape

from jobs.notifying.notice import Notice

#: Of what is urgent (RFC 4021, section 2.1.54).
_URGENT = 2
_SUBJECT = 200


def mail(notice: Notice, sender: str, to: Sequence[str]) -> EmailMessage:
    """The mail; ``sender`` and ``to`` are addresses as the settings have checked them."""
    domain = sender.rpartition("@")[2].strip("[]") or "flowlake.invalid"
    out = EmailMessage(policy=SMTP)
    # A title is one line already (jobs.notifying.notice), and the policy refuses any header with a line break.
    out["Subject"] = notice.headline if len(notice.headline) <= _SUBJECT else f"{notice.headline[: _SUBJECT - 3]}..."
    out["From"] = sender
    out["To"] = ", ".join(to)
    out["Date"] = format_datetime(datetime.fromisoformat(notice.at))
    out["Message-ID"] = f"<{notice.id}@{domain}>"
    out["In-Reply-To"] = out["References"] = f"<{notice.key}@{domain}>"
    out["Auto-Submitted"] = "auto-generated"
    out["Importance"] = "high" if notice.degree >= _URGENT and not notice.over else "normal"
    out["X-Flowlake-Key"] = notice.key
    out["X-Flowlake-News"] = notice.news
    out.set_content(plain(notice), cte="quoted-printable")
    out.add_alternative(page(notice), subtype="html", cte="quoted-printable")
    return out


def plain(notice: Notice) -> str:
    """The part of plain text."""
    facts = notice.facts()
    width = max(len(name) for name, _ in facts) + 2
    between = "\n" + " " * width  # lines of a note stay in their column: they can not pass for a fact of ours
    rows = [f"{name + ':':<{width}}{value.replace(chr(10), between)}" for name, value in facts]
    return "\n".join([notice.headline, "", *([notice.description, ""] if notice.description else []), *rows, ""])


def page(notice: Notice) -> str:
    """The part of HTML: no image, no script, nothing fetched."""
    rows = "".join(
        f'<tr><th style="text-align:left;vertical-align:top;padding:2px 12px 2px 0">{escape(name)}</th><td>{_shown(value)}</td></tr>'
        for name, value in notice.facts()
        if name != "Look"
    )
    description = f"<p>{_shown(notice.description)}</p>" if notice.description else ""
    link = f'<p><a href="{escape(notice.link)}">Open the incident</a></p>' if notice.link else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(notice.headline)}</title></head>'
        f'<body style="font-family:sans-serif"><h2 style="font-size:1.2em">{escape(notice.headline)}</h2>'
        f"{description}<table>{rows}</table>{link}</body></html>\n"
    )


def _shown(text: str) -> str:
    return escape(text).replace("\n", "<br>")
