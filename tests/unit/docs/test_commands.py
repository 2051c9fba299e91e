"""Every command shown in the documentation exists, with the options shown; every link resolves; every quoted error is raised somewhere."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.sources import discover
from jobs.runtime.meanings import TABLE
from ops.cli.main import commands as cli_commands

COMMANDS = cli_commands(discover(("jobs.sources", "tests.toy_source")))

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Variables of the Makefile that a page may set.
MAKE_VARIABLES = {"PCAP", "IFACE", "LAKE", "SOURCE", "ARGS", "PYTHON"}


@dataclass(frozen=True)
class Block:
    """A fenced (or indented) block: page, info string, text."""

    page: Path
    info: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    fence = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
    for match in fence.finditer(text):
        yield Block(page, match[2].strip(), match[3])
    for match in re.finditer(r"(?:^ {4,}\S[^\n]*\n)+", fence.sub("", text), re.MULTILINE):
        yield Block(page, "bash", match[0])


def commands(block: Block) -> Iterator[list[str]]:
    """Single commands of a shell block as words; assignments in front, redirections and here-documents are taken off."""
    text = re.sub(r"<<'(\w+)'\n.*?^\1$", "", block.text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r'"[^"]*"', lambda quoted: quoted[0].replace("\n", " "), text)  # a quotation may go over several lines
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        found: list[str] = []
        redirected = False
        for word in [*lexer, ";"]:
            if not re.fullmatch(r"[|&;<>]+", word):
                if not redirected:
                    found.append(word)
            elif re.search(r"[<>]", word):
                if word == ">&" and found[-1:] in (["1"], ["2"]):
                    found.pop()
                redirected = True
            else:
                if found:
                    yield found
                found, redirected = [], False


def _ours() -> Iterator[Any]:
    for page in PAGES:
        for block in blocks(page):
            if block.info.split(" ")[0] not in ("bash", "sh", "console"):
                continue
            for words in commands(block):
                while words and (re.fullmatch(r"[A-Z_]+=.*", words[0]) or words[0] in ("sudo", "export", "time")):
                    words = words[1:]
                name = Path(words[0]).name if words else ""
                if name in ("flowlake", "make", "spark-submit.sh"):
                    yield pytest.param(name, words[1:], id=f"{page.relative_to(ROOT)}: {' '.join([name, *words[1:]])}")


def parse(command: Any, path: str, arguments: list[str]) -> None:
    """Let the command read its arguments, without running it; raises what it would raise."""
    with command.make_context(path, list(arguments)) as context:
        below = [*getattr(context, "_protected_args", []), *context.args]
        if below and hasattr(command, "resolve_command"):
            name, inner, rest = command.resolve_command(context, below)
            parse(inner, f"{path} {name}", rest)


@pytest.mark.parametrize(("program", "arguments"), list(_ours()))
def test_command_exists(program: str, arguments: list[str]) -> None:
    if program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        for word in arguments:
            name, sign, _ = word.partition("=")
            assert name in (MAKE_VARIABLES if sign else targets), word
    elif program == "spark-submit.sh":
        from jobs.runtime import submit

        request = submit.parse(arguments)
        assert request.job in submit.jobs()
        if request.conf_file.startswith("conf/"):
            assert (ROOT / request.conf_file).is_file()
    else:
        from ops.cli.main import load

        if arguments in (["--help"], ["--version"]):
            return
        path, known = "flowlake", COMMANDS
        while known.get(arguments[0]) and not known[arguments[0]].target:
            path, known, arguments = f"{path} {arguments[0]}", known[arguments[0]].below, arguments[1:]
        assert arguments[0] in known
        if arguments[0] == "bench":
            pytest.importorskip("ops.cli.bench")
        parse(load(arguments[0], known), f"{path} {arguments[0]}", arguments[1:])


def test_the_check_of_commands_can_fail() -> None:
    from ops.cli.main import load

    for name, words in (
        ("sensor", ["reply", "a.pcap"]),
        ("sensor", ["replay", "a.pcap", "--sped", "0"]),
        ("meter", []),
        ("flows", ["--limit", "x"]),
    ):
        with pytest.raises(Exception, match=r"No such|Missing|valid integer"):
            parse(load(name, COMMANDS), name, words)


def test_readme_begins_with_demo_and_test() -> None:
    shown = [words for block in blocks(PAGES[0]) if block.info.startswith("bash") for words in commands(block)]
    assert shown[:2] == [["make", "demo"], ["make", "test"]]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as code hosts make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def _links() -> Iterator[Any]:
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"[a-z]+:", target):
                yield pytest.param(page, target, id=f"{page.relative_to(ROOT)} -> {target}")


@pytest.mark.parametrize(("page", "target"), list(_links()))
def test_link_resolves(page: Path, target: str) -> None:
    file, _, anchor = target.partition("#")
    there = (page.parent / file).resolve() if file else page
    assert there.exists()
    if anchor:
        assert anchor in anchors(there)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_blocks_name_their_language_and_python_parses(page: Path) -> None:
    for block in blocks(page):
        assert block.info, f"a fenced block without a language: {block.text[:60]!r}"
        if block.info == "python":
            ast.parse(block.text)


def raised() -> set[str]:
    """Texts of all errors for people in the code; what is filled in at run time is a NUL."""
    found = {re.sub(r"\{[^}]+\}", "\0", row.template) for row in TABLE}
    for folder in ("infra", "sensors", "jobs", "ops"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and node.args
                    and re.search(r"(Error|StoreUnavailable|warning|Finding|one_line)$", ast.unparse(node.func))
                ):
                    found.update(_texts(node.args[0]))
                elif isinstance(node, ast.Assign | ast.Return) and node.value is not None:
                    found.update(_texts(node.value))
    return found


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for left in _texts(node.left):
            yield from (left + right for right in list(_texts(node.right)) or ["\0"])
    elif isinstance(node, ast.IfExp):
        yield from (*_texts(node.body), *_texts(node.orelse))


def quoted() -> list[str]:
    """Errors that are headings of the troubleshooting page."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^### `([^`]+)`", page, re.MULTILINE)


RAISED = raised()


@pytest.mark.parametrize("text", quoted())
def test_quoted_error_is_raised(text: str) -> None:
    # Every second part of the split is a placeholder; one at the end of a message may be a part that is not always there.
    pattern = re.compile("".join("\0?" if i % 2 else re.escape(p) for i, p in enumerate(re.split(r"(<[^>]+>)", text))))
    assert any(pattern.fullmatch(known) for known in RAISED), f"no error of the code reads like this: {text}"
