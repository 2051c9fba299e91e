"""Asset lists as people and Excel write them; each row that is not right is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import InputError
from jobs.suppression.assetcsv import read

GOOD = "address,name,importance,owner,notes\n10.0.0.1,shop,CRITICAL,web team,\n2001:db8::/48,lab,1,,\n"


def written(tmp_path: Path, data: bytes | str) -> Path:
    path = tmp_path / "assets.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def said(path: Path) -> list[tuple[str, str, int, str, str]]:
    found = read(path)
    assert found.bad == []
    return [(str(a.network), a.name, a.importance, a.owner, a.notes) for a in found.assets]


EXPECTED = [("10.0.0.1/32", "shop", 4, "web team", ""), ("2001:db8::/48", "lab", 1, "", "")]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GOOD.encode(), id="as written"),
        pytest.param(b"\xef\xbb\xbf" + GOOD.replace(",", ";").replace("\n", "\r\n").encode(), id="Excel, with a mark and semicolons"),
        pytest.param(GOOD.replace(",", "\t").encode("utf-16"), id="Excel, Unicode text"),
        pytest.param(b"sep=;\r\n" + GOOD.replace(",", ";").encode(), id="with the separator said"),
        pytest.param(GOOD.replace("address,name", "IP,HostName").replace("10.0.0.1,", " ::ffff:10.0.0.1 ,").encode(), id="other names"),
        pytest.param(GOOD.replace("\n", "\n\n,,,,\n").encode(), id="empty lines"),
    ],
)
def test_one_list_in_many_dresses(tmp_path: Path, data: bytes) -> None:
    assert said(written(tmp_path, data)) == EXPECTED


def test_what_is_left_out_has_a_default_and_what_is_not_read_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, "name,network,rack\nshop,10.0.0.0/24,7\n")
    assert said(path) == [("10.0.0.0/24", "shop", 2, "", "")]
    assert read(path).unread == ["rack"]


def test_letters_of_windows(tmp_path: Path) -> None:
    assert said(written(tmp_path, "address;name\n10.0.0.1;B\u00fcro\n".encode("cp1252")))[0][1] == "B\u00fcro"


def test_a_formula_or_markup_is_text(tmp_path: Path) -> None:
    path = written(tmp_path, 'address,name,notes\n10.0.0.1,"=cmd|\'/c calc\'!A1","<script>; DROP TABLE assets"\n')
    assert said(path)[0][1:] == ("=cmd|'/c calc'!A1", 2, "", "<script>; DROP TABLE assets")


def test_each_bad_row_is_named_with_its_line(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'address,name,importance,notes\n10.0.0.1,ok,,"two\nlines"\n10.0.0.300,x,1,\n10.0.0.5/24,x,1,\n10.0.0.2,,1,\n'
        "10.0.0.3,x,urgent,\n"
        '10.0.0.4,x,1\n10.0.0.1,again,1,\n10.0.0.9,\x1b[31mred,1,\n"10.0.0.10,x,1,\n',
    )
    found = read(path)
    assert [str(asset.network) for asset in found.assets] == ["10.0.0.1/32"]
    assert [asset.notes for asset in found.assets] == ["two lines"]
    lines = dict(found.bad)
    assert list(lines) == [4, 5, 6, 7, 8, 9, 10, 11]
    words = [
        "'10.0.0.300' is no address",
        "the network is 10.0.0.0/24",
        "name is empty",
        "importance 'urgent'",
        "3 cells, and the header has 4",
        "10.0.0.1/32 is in line 2 already",
        "cannot be printed",
        "what follows was not read",
    ]
    assert [word for word, said_ in zip(words, lines.values(), strict=True) if word not in said_] == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "no column 'address'; the first line is: empty"),
        ("10.0.0.1,shop\n", "no column 'address'; the first line is: 10.0.0.1, shop"),
        ("address,importance\n10.0.0.1,1\n", "no column 'name'"),
        ("ip,address,name\n", "the columns 'ip' and 'address' are one and the same"),
        ('"address,name\n', "line 1"),
    ],
)
def test_a_file_that_is_no_list(tmp_path: Path, data: str, words: str) -> None:
    with pytest.raises(InputError, match="assets") as refused:
        read(written(tmp_path, data))
    assert words in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "none.csv")
