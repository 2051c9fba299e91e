"""Slack: an incoming webhook's message of blocks (api.slack.com/messaging/webhooks, api.slack.com/reference/block-kit).

All text is ``plain_text``, which knows no mrkdwn; ``&``, ``<`` and ``>`` are entities, so that no text mentions a channel or hides a link.
"""

from __future__ import annotations

import re
from typing import Any

from jobs.notifying.notice import Notice

#: Characters of a header, a section, a field of a section; fields of a section; characters of a button (the reference of Block Kit).
_HEADER, _SECTION, _FIELD, _FIELDS, _BUTTON = 150, 3000, 2000, 10, 75
#: What Slack's relatives (Mattermost, Rocket.Chat) take for a call to everybody, in plain text as well.
_CALLS = re.compile(r"@(?=(?:channel|here|all|everyone)\b)", re.IGNORECASE)


def message(notice: Notice) -> dict[str, Any]:
    """The body of the POST."""
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _text(notice.headline, _HEADER)}]
    if notice.description:
        blocks.append({"type": "section", "text": _text(notice.description, _SECTION)})
    facts = [_text(f"{name}\n{value}", _FIELD) for name, value in notice.facts()]
    blocks += [{"type": "section", "fields": facts[i : i + _FIELDS]} for i in range(0, len(facts), _FIELDS)]
    if notice.link:
        blocks.append(
            {"type": "actions", "elements": [{"type": "button", "text": _text("Open the incident", _BUTTON), "url": notice.link}]}
        )
    told = "\n".join([notice.headline, *(f"{name}: {value}" for name, value in notice.facts())])
    return {
        # What Slack shows in its notification, and its relatives, which know no blocks, as the message.
        "text": escaped(told, _SECTION), "mrkdwn": False, "link_names": False, "parse": "none",
        "unfurl_links": False, "unfurl_media": False, "blocks": blocks,
    }  # fmt: skip


def escaped(text: str, most: int) -> str:
    """Text that is only text, of so many characters at most."""
    quiet = _CALLS.sub("@\u200b", text)
    out = "".join({"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(c, c) for c in quiet)
    if len(out) <= most:
        return out
    return re.sub(r"&[a-z]{0,3}$", "", out[: most - 3]) + "..."  # no entity is cut in two


def _text(text: str, most: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": escaped(text, most), "emoji": False}
