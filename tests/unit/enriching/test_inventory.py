"""Questions to the APIs of clouds: to a real server on loopback that answers as they do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from jobs.enriching.addresses import packed
from jobs.enriching.cloudapis import ask_aws, ask_azure, ask_gcp
from jobs.enriching.inventory import Inventory
from jobs.enriching.settings import AwsSettings, AzureSettings, CloudSettings, GcpSettings
from tests.unit.enriching.endpoints import until
from tests.unit.enriching.test_machines import AZURE_INTERFACES, AZURE_PUBLIC, GCP

_EC2 = """<?xml version="1.0"?><DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet><item>
<instancesSet><item><instanceId>i-{n}</instanceId><privateIpAddress>10.0.0.{n}</privateIpAddress></item></instancesSet>
</item></reservationSet>{more}</DescribeInstancesResponse>"""


class _Api(BaseHTTPRequestHandler):
    """All three APIs, and the services that give keys."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {k: v[0] for k, v in parse_qs(url.query).items()}
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if url.path.endswith("/token"):
            known = self.headers.get("Metadata") == "true" or self.headers.get("Metadata-Flavor") == "Google"
            self._say({"access_token": "key"} if known else {}, 200 if known else 403)
        elif self.headers.get("Authorization") != "Bearer key":
            self._say({"error": "no key"}, 401)
        elif url.path.endswith("/networkInterfaces"):
            first, second = AZURE_INTERFACES
            away = self.server.away  # type: ignore[attr-defined]
            link = f"{away or self._base()}{url.path}?page=2"
            self._say({"value": [second]} if "page" in asked else {"value": [first], "nextLink": link})
        elif url.path.endswith("/publicIPAddresses"):
            self._say({"value": AZURE_PUBLIC})
        else:
            self._say(GCP if asked.get("pageToken") == "t" else {"items": {}, "nextPageToken": "t"})

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        more = "" if "NextToken" in asked else "<nextToken>t</nextToken>"
        self._say(_EC2.format(n=2 if "NextToken" in asked else 1, more=more))

    def _base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _say(self, content: object, status: int = 200) -> None:
        raw = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    server.asked, server.away = [], ""  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def base(api: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{api.server_address[1]}"


def test_azure_is_asked_page_by_page(api: ThreadingHTTPServer) -> None:
    found = list(ask_azure(AzureSettings(subscriptions=("s",)), base(api), base(api)))
    assert {m.address for m in found} == {packed(a) for a in ("10.1.0.4", "20.1.2.3", "10.1.0.9")}


def test_a_key_of_azure_goes_to_nobody_else(api: ThreadingHTTPServer) -> None:
    api.away = "http://127.0.0.1:9"  # type: ignore[attr-defined]
    with pytest.raises(requests.RequestException, match="leads away"):
        list(ask_azure(AzureSettings(subscriptions=("s",)), base(api), base(api)))


def test_gcp_is_asked_page_by_page(api: ThreadingHTTPServer) -> None:
    found = list(ask_gcp(GcpSettings(projects=("p",)), base(api), base(api)))
    assert {m.name for m in found} == {"queue"}
    assert len(found) == 3


@pytest.fixture
def aws(api: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> AwsSettings:
    for name, value in {"ENDPOINT_URL_EC2": base(api), "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return AwsSettings(enabled=True, regions=("eu-central-1",))


@pytest.mark.slow  # boto3 takes a second to read what EC2 can do
def test_aws_is_asked_page_by_page(aws: AwsSettings) -> None:
    assert [m.identifier for m in ask_aws(aws)] == ["i-1", "i-2"]


@pytest.mark.slow  # the same
def test_machines_come_in_the_background(aws: AwsSettings) -> None:
    inventory = Inventory(CloudSettings(aws=aws))
    assert until(lambda: len(inventory.machines) == 2)
    inventory.close()
    assert inventory.machines[packed("10.0.0.1")].region == "eu-central-1"


def test_without_a_cloud_nobody_is_asked() -> None:
    before = threading.active_count()
    inventory = Inventory(CloudSettings())
    assert threading.active_count() == before
    assert inventory.machines == {}
    inventory.close()
