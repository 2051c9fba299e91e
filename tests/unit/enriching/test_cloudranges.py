"""Which cloud an address is of, by files as the providers publish them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import ConfigError
from jobs.enriching.cloudranges import NO_CLOUD, CloudPlace, CloudRanges
from jobs.enriching.settings import AwsSettings, AzureSettings, CloudSettings, GcpSettings
from tests.unit.enriching.endpoints import matrix

AWS = {
    "syncToken": "1700000000",
    "createDate": "2023-11-14-00-00-00",
    "prefixes": [
        {"ip_prefix": "3.4.0.0/16", "region": "eu-central-1", "service": "AMAZON", "network_border_group": "eu-central-1"},
        {"ip_prefix": "3.4.0.0/16", "region": "eu-central-1", "service": "EC2", "network_border_group": "eu-central-1"},
        {"ip_prefix": "3.4.12.4/32", "region": "eu-west-1", "service": "AMAZON", "network_border_group": "eu-west-1"},
    ],
    "ipv6_prefixes": [{"ipv6_prefix": "2a05:d000::/25", "region": "eu-central-1", "service": "S3"}],
}
AZURE = {
    "changeNumber": 1,
    "cloud": "Public",
    "values": [
        {"name": "AzureCloud", "properties": {"region": "", "systemService": "", "addressPrefixes": ["20.38.0.0/16", "2603:1000::/24"]}},
        {"name": "Storage", "properties": {"region": "", "systemService": "AzureStorage", "addressPrefixes": ["20.38.99.0/24"]}},
        {"name": "AzureCloud.we", "properties": {"region": "westeurope", "systemService": "", "addressPrefixes": ["20.38.99.0/24"]}},
    ],
}
GCP = {
    "syncToken": "1",
    "prefixes": [
        {"ipv4Prefix": "34.1.208.0/20", "service": "Google Cloud", "scope": "africa-south1"},
        {"ipv6Prefix": "2600:1900:8000::/44", "service": "Google Cloud", "scope": "europe-west3"},
        {"ipv4Prefix": "8.8.8.0/24"},
    ],
}


def written(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def settings(tmp_path: Path) -> CloudSettings:
    return CloudSettings(
        aws=AwsSettings(ranges_path=written(tmp_path / "ip-ranges.json", AWS)),
        azure=AzureSettings(ranges_path=written(tmp_path / "ServiceTags_Public.json", AZURE)),
        gcp=GcpSettings(ranges_path=written(tmp_path / "cloud.json", GCP)),
    )


def test_the_longest_prefix_says_cloud_region_and_service(settings: CloudSettings) -> None:
    expected = {
        "3.4.200.1": CloudPlace("aws", "eu-central-1", "EC2"),
        "3.4.12.4": CloudPlace("aws", "eu-west-1", None),
        "2a05:d000::1": CloudPlace("aws", "eu-central-1", "S3"),
        "20.38.1.1": CloudPlace("azure", None, None),
        "20.38.99.7": CloudPlace("azure", "westeurope", "AzureStorage"),
        "2603:1000::1": CloudPlace("azure", None, None),
        "34.1.208.1": CloudPlace("gcp", "africa-south1", "Google Cloud"),
        "2600:1900:8000::1": CloudPlace("gcp", "europe-west3", "Google Cloud"),
        "8.8.8.8": CloudPlace("gcp", None, None),
        "192.0.2.1": NO_CLOUD,
    }
    assert dict(zip(expected, CloudRanges(settings).find(matrix(list(expected))), strict=True)) == expected


def test_a_changed_file_is_read_again_and_a_damaged_one_is_not(settings: CloudSettings) -> None:
    ranges = CloudRanges(settings)
    path = Path(settings.aws.ranges_path)
    assert not ranges.look()
    written(path, {"prefixes": [{"ip_prefix": "192.0.2.0/24", "region": "x", "service": "EC2"}], "ipv6_prefixes": []})
    assert ranges.look()
    assert ranges.find(matrix(["192.0.2.1", "3.4.12.4"])) == [CloudPlace("aws", "x", "EC2"), NO_CLOUD]
    path.write_text("{}")
    assert not ranges.look()
    assert ranges.find(matrix(["192.0.2.1"])) == [CloudPlace("aws", "x", "EC2")]
    path.unlink()
    assert not ranges.look()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"prefixes": 7, "ipv6_prefixes": []}',
        '{"prefixes": [{"ip_prefix": "3.4.0.1/16"}], "ipv6_prefixes": []}',
        '{"prefixes": [{"ip_prefix": 7}], "ipv6_prefixes": []}',
        '{"prefixes": ["3.4.0.0/16"], "ipv6_prefixes": []}',
    ],
)
def test_what_is_not_such_a_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ip-ranges.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"enrichment.cloud.aws.ranges_path: .*ip-ranges.json: "):
        CloudRanges(CloudSettings(aws=AwsSettings(ranges_path=str(path))))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"enrichment.cloud.gcp.ranges_path: .*: No such file"):
        CloudRanges(CloudSettings(gcp=GcpSettings(ranges_path=str(tmp_path / "none.json"))))
    assert CloudRanges(CloudSettings()).find(matrix(["3.4.12.4"])) == [NO_CLOUD]
