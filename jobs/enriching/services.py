"""Services by their ports: those that matter for a look at traffic.

Names and ports are those of IANA's registry (https://www.iana.org/assignments/service-names-port-numbers), in the spelling that people
use (``https``, ``dns`` for ``domain``); ports that are in wide use without being registered so (``elasticsearch``, ``kubernetes``,
``wireguard``) are the defaults of the programs' own manuals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.enriching.settings import PORT_PROTOCOLS, service_key

#: Name -> ports; ``t``: TCP, ``u``: UDP, ``tu``: both, ``s``: SCTP.
_SERVICES = """
echo 7tu | discard 9tu | daytime 13tu | chargen 19tu | ftp-data 20t | ftp 21t | ssh 22t | telnet 23t | smtp 25t | time 37tu
tacacs 49tu | dns 53tu | dhcp 67u 68u | tftp 69u | gopher 70t | finger 79t | http 80t | kerberos 88tu | pop3 110t | sunrpc 111tu
ident 113t | nntp 119t | ntp 123u | msrpc 135tu | netbios-ns 137tu | netbios-dgm 138u | netbios-ssn 139t | imap 143t | snmp 161tu
snmptrap 162tu | xdmcp 177u | bgp 179t | irc 194t | imap3 220t | ldap 389tu | slp 427tu | https 443tu | smb 445t
kpasswd 464tu | submissions 465t | isakmp 500u | rexec 512t | rlogin 513t | rsh 514t | syslog 514u | lpd 515t | rip 520u | ripng 521u
dhcpv6 546u 547u | afp 548t | rtsp 554tu | nntps 563t | submission 587t | http-rpc-epmap 593t | ipp 631tu | ldaps 636t
ldp 646tu | msdp 639t | dns-tls 853t | dns-doq 853u | rsync 873t | ftps-data 989t | ftps 990t | telnets 992t | imaps 993t | pop3s 995t
socks 1080t | openvpn 1194tu | lotusnote 1352t | ms-sql 1433t | ms-sql-browser 1434u | wins 1512tu | oracle 1521t | l2tp 1701u
pptp 1723t | radius 1812u | radius-acct 1813u | radius-old 1645u 1646u | mqtt 1883t | ssdp 1900u | hsrp 1985u | nfs 2049tu
netflow 2055u 9995u 9996u | cpanel 2083t | zookeeper 2181t | docker 2375t 2376t | etcd 2379t 2380t | gtp-control 2123u
gtp-user 2152u | isns 3205tu | iscsi 3260t | globalcatalog 3268t 3269t | squid 3128t | mysql 3306t | rdp 3389tu
stun 3478tu | stuns 5349tu | ws-discovery 3702tu | diameter 3868t 3868s | bfd-control 3784u | bfd-echo 3785u | bfd-multi 4784u
subversion 3690t | teredo 3544u | erlang-epmd 4369t | ipsec-nat-t 4500u | ipfix 4739tu 4739s | ipfixs 4740tu 4740s | vxlan 4789u
geneve 6081u | sip 5060tu 5060s | sips 5061tu 5061s | rtps 7400u | xmpp-client 5222t | xmpp-server 5269t | nat-pmp 5351u | mdns 5353u
llmnr 5355tu | postgresql 5432t | rtmp 1935t | amqp 5672t | amqps 5671t | coap 5683u | coaps 5684u | vnc 5900t 5901t | couchdb 5984t
winrm 5985t 5986t | x11 6000t | redis 6379t | sflow 6343u | kubernetes 6443t | irc 6667t | ircs 6697t | bittorrent 6881tu
cassandra 9042t 7000t | neo4j 7687t | afs 7000u | http-alt 8000t 8008t 8080t | https-alt 8443t | mqtts 8883t | bitcoin 8333t
minecraft 25565t | prometheus 9090t | kafka 9092t 9093t | jetdirect 9100t | elasticsearch 9200t 9300t | git 9418t | zabbix 10050t 10051t
memcached 11211tu | nfs-callback 20048tu | mongodb 27017t 27018t 27019t | wireguard 51820u | traceroute 33434u | statsd 8125u
s1ap 36412s | x2ap 36422s | ngap 38412s | m3ua 2905s | m2ua 2904s | sua 14001s | consul 8300t 8301tu 8302tu 8500t | vault 8200t
graphite 2003t | influxdb 8086t | clickhouse 9000t | nats 4222t | rabbitmq 25672t | ceph-mon 3300t 6789t
glusterd 24007t | proxmox 8006t | ndmp 10000tu | veeam 9392t | netbackup 1556t 13724t | bacula 9101t 9102t 9103t
citrix-ica 1494t | citrix-cgp 2598t | modbus 502t | s7comm 102t | dnp3 20000tu | bacnet 47808u | opcua 4840t | ethernet-ip 44818tu
iec-104 2404t | collectd 25826u | nrpe 5666t | ipmi 623u | syslog-tls 6514t | capwap 5246u 5247u
lwapp 12222u 12223u | rpki-rtr 323t | rpki-rtr-tls 324t | kerberos-adm 749t
"""
_LETTERS = {"t": "tcp", "u": "udp", "s": "sctp"}
_PORTS = 65_536


def known_services() -> Iterator[tuple[str, int, int]]:
    """Name, port and protocol of each."""
    for entry in _SERVICES.replace("\n", "|").split("|"):
        name, *ports = entry.split() or [""]
        for port in ports:
            number = port.rstrip("tus")
            yield from ((name, int(number), PORT_PROTOCOLS[_LETTERS[letter]]) for letter in port[len(number) :])


class ServiceTable:
    """Names of services by protocol and port.

    Parameters
    ----------
    more
        ``8443/tcp`` -> name: beside ours, or instead.

    Attributes
    ----------
    names
        The names, of which the first is empty.
    """

    def __init__(self, more: Mapping[str, str] | None = None) -> None:
        names = {"": 0}
        # A row for each protocol that has ports, and one, row 0, of those that have none.
        self._rows = np.zeros(256, np.uint8)
        for row, protocol in enumerate(PORT_PROTOCOLS.values(), 1):
            self._rows[protocol] = row
        self._codes = np.zeros((len(PORT_PROTOCOLS) + 1, _PORTS), np.uint16)
        own = ((name, *service_key(key)) for key, name in (more or {}).items())
        for name, port, protocol in (*known_services(), *own):
            self._codes[self._rows[protocol], port] = names.setdefault(name, len(names))
        self.names = pa.array(list(names), pa.string())

    def has_ports(self, protocols: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Whether the protocols have ports."""
        return self._rows[protocols] > 0

    def find(self, protocols: NDArray[np.uint8], ports: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Places of the services in ``names``; 0: not known."""
        return self._codes[self._rows[protocols], ports]
