"""Pages of great-expectations that need no other host: what they fetch is taken out, a style sheet and a script are put in its place."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from infra import files

_OUTSIDE = re.compile(
    r"<script[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>\s*</script>"
    r"|<(?:link|img)[^>]*\b(?:href|src)=[\"']?(?:https?:)?//[^>]*>"
    r"|<a[^>]*\bhref=[\"']?(?:https?:)?//[^>]*>.*?</a>",
    re.IGNORECASE | re.DOTALL,
)
_FETCHED = re.compile(r"url\(\s*[\"']?https?:[^)]*\)", re.IGNORECASE)
_STYLE = """<style data-flowlake>
body{font:15px/1.45 system-ui,sans-serif;color:#1c2733;margin:0 auto;max-width:1400px;padding:1rem}
h1,h2,h3,h4,h5{line-height:1.2;margin:1em 0 .4em;font-size:1.1rem}h1{font-size:1.5rem}a{color:#0b62c4}p{margin:.4em 0}
table{border-collapse:collapse;width:100%;margin:.5em 0}
th,td{border:1px solid #d5dde5;padding:.35em .6em;text-align:left;vertical-align:top}
th{background:#f1f4f8}code,.badge{background:#eef1f5;border-radius:3px;padding:0 .3em;overflow-wrap:anywhere}
.row{display:flex;flex-wrap:wrap;gap:1.5rem}.col-lg-2{flex:0 0 230px}.col-lg-8,.col-md-8,.col-lg-9,.col-lg-10{flex:1 1 500px;min-width:0}
.navbar{height:auto!important}.breadcrumb{list-style:none;padding:0;display:flex;gap:.6rem;margin:0}.breadcrumb li+li::before{content:"/ "}
ul{padding-left:1.2em}.nav{list-style:none;padding:0}.btn{margin-right:.8em}
.text-success,.fa-check-circle::before{color:#18794e}.text-danger,.fa-times::before{color:#c62828}
.fa-check-circle::before{content:"\\2713"}.fa-times::before,.fa-times-circle::before{content:"\\2717"}
.fa-exclamation-triangle::before{content:"!"}.alert{border:1px solid #d5dde5;border-radius:4px;padding:.6em 1em;margin:.6em 0}
.modal,.cooltip,footer,.footer,.navbar-brand{display:none!important}
.failed{color:#c62828}.holds{color:#18794e}.number{text-align:right}
@media (prefers-color-scheme:dark){body{background:#11161c;color:#dbe3ea}th,code,.badge{background:#1d262f}a{color:#7db7ff}}
</style>"""
_SCRIPT = """<script data-flowlake>
function flowlakeShow(all){
  const look=all?"":"none";
  document.querySelectorAll(".hide-succeeded-validation-target-child").forEach(e=>{e.parentElement.style.display=look});
  document.querySelectorAll(".hide-succeeded-validation-target").forEach(e=>{e.style.display=look});
  document.querySelectorAll(".hide-succeeded-validations-column-section-target-child").forEach(e=>{
    const part=e.parentElement.parentElement;part.style.display=look;
    document.querySelectorAll('a[href="#'+part.id+'"]').forEach(a=>{a.parentElement.style.display=look});
  });
}
showAllValidations=()=>flowlakeShow(true);hideSucceededValidations=()=>flowlakeShow(false);
</script>"""


def alone(page: Path) -> None:
    """Make a page of great-expectations, or a style sheet, need no other host.

    Raises
    ------
    OSError
        It cannot be read or written.
    """
    text = page.read_text(encoding="utf-8")
    if _STYLE not in text and (page.suffix == ".html" or _FETCHED.search(text)):
        text = _FETCHED.sub("none", _OUTSIDE.sub("", text))
        text = re.sub(r"<footer.*?</footer>", "", text, flags=re.DOTALL)
        files.replace(page, text.replace("</head>", f"{_STYLE}</head>", 1).replace("</body>", f"{_SCRIPT}</body>", 1))


def index(runs: Iterable[Mapping[str, Any]]) -> str:
    """The first page: a line a run of a suite, the newest first.

    Parameters
    ----------
    runs
        As :meth:`jobs.quality.nightly.SuiteRun.as_dict` gives them, with ``at`` and the ``page`` of each.
    """
    rows = [
        f"<tr><td>{_text(run['at'][:19])}</td><td>{_text(run['day'])}</td>"
        f'<td><a href="{_text(run["page"])}">{_text(run["suite"])}</a></td><td class=number>{run["rows"]:,}</td>{_state(run)}'
        f"<td class=number>{run['quarantined']:,}</td><td>{_text(run['note'])}</td></tr>"
        for run in runs
    ]
    head = "".join(f"<th>{name}</th>" for name in ("run, UTC", "day", "suite", "rows", "result", "quarantined", "note"))
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="UTF-8"><title>Data quality</title>{_STYLE}</head><body>'
        f"<h1>Data quality</h1><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></body></html>"
    )


def _state(run: Mapping[str, Any]) -> str:
    if run["success"]:
        return f"<td class=holds>{run['expectations']} hold</td>"
    rules = ", ".join(one["rule"] for one in run["failed"][:5])
    return f"<td class=failed>{len(run['failed'])} of {run['expectations']} failed: {_text(rules)}</td>"


def _text(value: Any) -> str:
    return html.escape(str(value))
