"""Our own machines in clouds, read from what the providers' APIs answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from infra.names import printable
from jobs.enriching.addresses import packed


class CloudMachine(NamedTuple):
    """A machine and one of its addresses."""

    address: bytes  # 16
    cloud: str  # aws, azure, gcp
    region: str
    service: str
    name: str  # as people call it, else its identifier
    identifier: str


def aws_machines(answer: Mapping[str, Any], region: str) -> Iterator[CloudMachine]:
    """Of a page of ``DescribeInstances``.

    (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html)
    """
    for reservation in answer.get("Reservations", ()):
        for found in reservation.get("Instances", ()):
            tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", ())}
            name = tags.get("Name") or found.get("PrivateDnsName") or found["InstanceId"]
            yield from _each(_aws_addresses(found), "aws", region, "EC2", name, found["InstanceId"])


def _aws_addresses(found: Mapping[str, Any]) -> Iterator[str | None]:
    yield found.get("PrivateIpAddress")
    yield found.get("PublicIpAddress")
    for interface in found.get("NetworkInterfaces", ()):
        for private in interface.get("PrivateIpAddresses", ()):
            yield private.get("PrivateIpAddress")
            yield private.get("Association", {}).get("PublicIp")
        yield from (entry.get("Ipv6Address") for entry in interface.get("Ipv6Addresses", ()))


def azure_machines(interfaces: Iterable[Mapping[str, Any]], public: Iterable[Mapping[str, Any]]) -> Iterator[CloudMachine]:
    """Of network interfaces and public addresses, the ``value`` of both lists; interfaces without a machine are of a service.

    (https://learn.microsoft.com/rest/api/virtualnetwork/network-interfaces/list-all, .../public-ip-addresses/list-all)
    """
    outside = {entry["id"].lower(): entry["properties"].get("ipAddress") for entry in public}
    for interface in interfaces:
        properties = interface["properties"]
        identifier = (properties.get("virtualMachine") or {}).get("id") or interface["id"]
        addresses = []
        for configuration in properties.get("ipConfigurations", ()):
            inner = configuration["properties"]
            addresses += [inner.get("privateIPAddress"), outside.get((inner.get("publicIPAddress") or {}).get("id", "").lower())]
        service = "VirtualMachines" if properties.get("virtualMachine") else "Network"
        yield from _each(addresses, "azure", interface["location"], service, identifier.rpartition("/")[2], identifier)


def gcp_machines(answer: Mapping[str, Any]) -> Iterator[CloudMachine]:
    """Of a page of ``instances.aggregatedList``.

    (https://cloud.google.com/compute/docs/reference/rest/v1/instances/aggregatedList)
    """
    for zone in answer.get("items", {}).values():
        for found in zone.get("instances", ()):
            region = found["zone"].rpartition("/")[2].rpartition("-")[0]
            yield from _each(_gcp_addresses(found), "gcp", region, "Compute Engine", found["name"], str(found["id"]))


def _gcp_addresses(found: Mapping[str, Any]) -> Iterator[str | None]:
    for interface in found.get("networkInterfaces", ()):
        yield interface.get("networkIP")
        yield interface.get("ipv6Address")
        yield from (access.get("natIP") for access in interface.get("accessConfigs", ()))
        yield from (access.get("externalIpv6") for access in interface.get("ipv6AccessConfigs", ()))


def _each(addresses: Iterable[str | None], cloud: str, region: str, service: str, name: str, identifier: str) -> Iterator[CloudMachine]:
    for text in dict.fromkeys(a for a in addresses if a):
        yield CloudMachine(packed(text), cloud, region, service, printable(name), identifier)


class Machines(NamedTuple):
    """Machines by address. Private addresses are used again in other networks: what several machines have belongs to none."""

    by_address: dict[bytes, CloudMachine]
    ambiguous: int


def by_address(machines: Iterable[CloudMachine]) -> Machines:
    """Each address that one machine alone has."""
    found: dict[bytes, CloudMachine] = {}
    several: set[bytes] = set()
    for machine in machines:
        if found.setdefault(machine.address, machine).identifier != machine.identifier:
            several.add(machine.address)
    return Machines({a: m for a, m in found.items() if a not in several}, len(several))
