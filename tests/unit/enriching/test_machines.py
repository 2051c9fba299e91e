"""Our own machines, from answers as the clouds' APIs give them."""

from __future__ import annotations

from typing import Any

from jobs.enriching.addresses import packed
from jobs.enriching.machines import CloudMachine, aws_machines, azure_machines, by_address, gcp_machines

AWS: dict[str, Any] = {
    "Reservations": [
        {
            "Instances": [
                {
                    "InstanceId": "i-1",
                    "PrivateIpAddress": "10.0.0.5",
                    "PublicIpAddress": "3.4.5.6",
                    "PrivateDnsName": "ip-10-0-0-5.ec2.internal",
                    "Tags": [{"Key": "Name", "Value": "web"}],
                    "NetworkInterfaces": [
                        {
                            "PrivateIpAddresses": [
                                {"PrivateIpAddress": "10.0.0.5", "Association": {"PublicIp": "3.4.5.6"}},
                                {"PrivateIpAddress": "10.0.0.6"},
                            ],
                            "Ipv6Addresses": [{"Ipv6Address": "2a05:d000::5"}],
                        }
                    ],
                },
                {"InstanceId": "i-2", "State": {"Name": "terminated"}},
            ]
        }
    ]
}
_NETWORK = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
AZURE_INTERFACES: list[dict[str, Any]] = [
    {
        "id": f"{_NETWORK}/networkInterfaces/nic1",
        "location": "westeurope",
        "properties": {
            "virtualMachine": {"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/db1"},
            "ipConfigurations": [
                {
                    "properties": {
                        "privateIPAddress": "10.1.0.4",
                        "publicIPAddress": {"id": f"{_NETWORK}/publicIPAddresses/DB1-IP"},
                    }
                }
            ],
        },
    },
    {
        "id": f"{_NETWORK}/networkInterfaces/endpoint",
        "location": "westeurope",
        "properties": {"virtualMachine": None, "ipConfigurations": [{"properties": {"privateIPAddress": "10.1.0.9"}}]},
    },
]
AZURE_PUBLIC: list[dict[str, Any]] = [
    {"id": f"{_NETWORK}/publicIPAddresses/db1-ip", "properties": {"ipAddress": "20.1.2.3"}},
    {"id": f"{_NETWORK}/publicIPAddresses/unused", "properties": {}},
]
GCP: dict[str, Any] = {
    "items": {
        "zones/europe-west3-a": {
            "instances": [
                {
                    "id": "42",
                    "name": "queue",
                    "zone": "https://www.googleapis.com/compute/v1/projects/p/zones/europe-west3-a",
                    "networkInterfaces": [
                        {
                            "networkIP": "10.2.0.2",
                            "accessConfigs": [{"natIP": "34.5.6.7"}, {"name": "none yet"}],
                            "ipv6AccessConfigs": [{"externalIpv6": "2600:1900::2"}],
                        }
                    ],
                }
            ]
        },
        "zones/us-east1-b": {"warning": {"code": "NO_RESULTS_ON_PAGE"}},
    }
}


def test_aws_names_instances_by_their_tag() -> None:
    found = {m.address: m for m in aws_machines(AWS, "eu-central-1")}
    assert set(found) == {packed(a) for a in ("10.0.0.5", "10.0.0.6", "3.4.5.6", "2a05:d000::5")}
    assert found[packed("3.4.5.6")] == CloudMachine(packed("3.4.5.6"), "aws", "eu-central-1", "EC2", "web", "i-1")
    assert list(aws_machines({"Reservations": []}, "x")) == []


def test_azure_joins_interfaces_with_public_addresses() -> None:
    found = {m.address: (m.name, m.service, m.region) for m in azure_machines(AZURE_INTERFACES, AZURE_PUBLIC)}
    assert found == {
        packed("10.1.0.4"): ("db1", "VirtualMachines", "westeurope"),
        packed("20.1.2.3"): ("db1", "VirtualMachines", "westeurope"),
        packed("10.1.0.9"): ("endpoint", "Network", "westeurope"),
    }


def test_gcp_tells_the_region_by_the_zone() -> None:
    found = {m.address: (m.name, m.region, m.identifier) for m in gcp_machines(GCP)}
    assert found == dict.fromkeys(map(packed, ("10.2.0.2", "34.5.6.7", "2600:1900::2")), ("queue", "europe-west3", "42"))
    assert list(gcp_machines({})) == []


def test_an_address_of_two_machines_is_of_none() -> None:
    one, again, other = (CloudMachine(packed("10.0.0.1"), "aws", "r", "EC2", "n", identifier) for identifier in ("i-1", "i-1", "i-2"))
    alone = CloudMachine(packed("10.0.0.2"), "aws", "r", "EC2", "n", "i-2")
    assert by_address([one, again, alone]) == ({one.address: one, alone.address: alone}, 0)
    assert by_address([one, other, alone, again]) == ({alone.address: alone}, 1)
