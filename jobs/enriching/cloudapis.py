"""Questions to the APIs of clouds: which machines we have, with which addresses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import requests

from jobs.enriching.machines import CloudMachine, aws_machines, azure_machines, gcp_machines
from jobs.enriching.settings import AwsSettings, AzureSettings, GcpSettings

#: Seconds that one answer may take; and pages of one list at most, so that a faulty link to the next page ends.
PATIENCE, MOST_PAGES = 20.0, 10_000
AZURE_API, AZURE_VERSION = "https://management.azure.com", "2024-05-01"
GCP_API = "https://compute.googleapis.com/compute/v1"
#: The services inside a machine of the cloud that give it its own key (plain HTTP by their nature: they are on the machine's own host).
AZURE_METADATA, GCP_METADATA = "http://169.254.169.254", "http://169.254.169.254"


def ask_aws(settings: AwsSettings) -> Iterator[CloudMachine]:
    """Machines in EC2; keys, a proxy, another address as boto3 reads them from the environment.

    Raises
    ------
    Exception
        Whatever boto3 raises: no keys, not allowed, no answer.
    """
    import boto3

    for region in settings.regions:
        client = boto3.client("ec2", region_name=region)
        for page in client.get_paginator("describe_instances").paginate():
            yield from aws_machines(page, region)


def ask_azure(settings: AzureSettings, api: str = AZURE_API, metadata: str = AZURE_METADATA) -> Iterator[CloudMachine]:
    """Machines of subscriptions, as the managed identity of this machine may see them.

    Raises
    ------
    requests.RequestException, KeyError
        There is no answer, a refusal, or another answer than the API documents.
    """
    wanted = {"api-version": "2018-02-01", "resource": f"{AZURE_API}/"}
    token = _get(f"{metadata}/metadata/identity/oauth2/token", {"Metadata": "true"}, wanted)["access_token"]
    authorised = {"Authorization": f"Bearer {token}"}
    for subscription in settings.subscriptions:
        base = f"{api}/subscriptions/{subscription}/providers/Microsoft.Network"
        lists = [list(_azure_list(f"{base}/{kind}", authorised, api)) for kind in ("networkInterfaces", "publicIPAddresses")]
        yield from azure_machines(*lists)


def _azure_list(url: str, headers: dict[str, str], api: str) -> Iterator[dict[str, Any]]:
    page = _get(url, headers, {"api-version": AZURE_VERSION})
    for _ in range(MOST_PAGES):
        yield from page["value"]
        link = page.get("nextLink")
        if not link:
            return
        if not link.startswith(f"{api}/"):  # the key is for nobody else
            raise requests.RequestException("the link to the next page leads away from the API")
        page = _get(link, headers, {})


def ask_gcp(settings: GcpSettings, api: str = GCP_API, metadata: str = GCP_METADATA) -> Iterator[CloudMachine]:
    """Machines of projects, as the service account of this machine may see them.

    Raises
    ------
    requests.RequestException, KeyError
        There is no answer, a refusal, or another answer than the API documents.
    """
    flavoured = {"Metadata-Flavor": "Google"}
    token = _get(f"{metadata}/computeMetadata/v1/instance/service-accounts/default/token", flavoured, {})["access_token"]
    authorised = {"Authorization": f"Bearer {token}"}
    for project in settings.projects:
        asked: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            page = _get(f"{api}/projects/{project}/aggregated/instances", authorised, asked)
            yield from gcp_machines(page)
            if not page.get("nextPageToken"):
                break
            asked = {"pageToken": page["nextPageToken"]}


def _get(url: str, headers: dict[str, str], parameters: dict[str, str]) -> dict[str, Any]:
    answer = requests.get(url, headers=headers, params=parameters, timeout=PATIENCE, allow_redirects=False)
    answer.raise_for_status()
    said: dict[str, Any] = answer.json()
    return said
