"""Numbers of the protocols that are read, under the names of their registries.

Link types: tcpdump.org's LINKTYPE registry. EtherTypes: IEEE 802. IP protocols, ports and PPP protocol numbers: IANA.
Plain integers, so that compiled kernels take them as constants.
"""

from __future__ import annotations

# ---- link types of captures
LINKTYPE_NULL = 0  # BSD loopback, in the byte order of the capturing host
LINKTYPE_ETHERNET = 1
LINKTYPE_PPP = 9
LINKTYPE_DLT_RAW_BSD = 12  # DLT_RAW as most systems number it, found in captures
LINKTYPE_DLT_RAW_OPENBSD = 14
LINKTYPE_PPP_HDLC = 50
LINKTYPE_PPP_ETHER = 51
LINKTYPE_RAW = 101
LINKTYPE_C_HDLC = 104
LINKTYPE_IEEE802_11 = 105
LINKTYPE_LOOP = 108  # BSD loopback, in network byte order
LINKTYPE_ENC = 109
LINKTYPE_LINUX_SLL = 113
LINKTYPE_IEEE802_11_PRISM = 119
LINKTYPE_IEEE802_11_RADIOTAP = 127
LINKTYPE_IEEE802_11_AVS = 163
LINKTYPE_PPI = 192
LINKTYPE_IPV4 = 228
LINKTYPE_IPV6 = 229
LINKTYPE_LINUX_SLL2 = 276

# ---- address families in BSD loopback headers: each system has its own number for IPv6
AF_INET = 2
AF_INET6_LINUX, AF_INET6_OPENBSD, AF_INET6_FREEBSD, AF_INET6_DARWIN = 10, 24, 28, 30

# ---- EtherTypes; up to 1500 the field is a length (IEEE 802.3, 3.2.6)
ETHERTYPE_LLC = 4  # Linux cooked captures: what follows is 802.2
ETHERNET_MAX_LENGTH = 1500
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_TEB = 0x6558  # transparent Ethernet bridging, RFC 1701
ETHERTYPE_VLAN = 0x8100  # IEEE 802.1Q
ETHERTYPE_VLAN_8200 = 0x8200  # 8200, 9100 and 9200: tags of vendors from before 802.1ad
ETHERTYPE_IPV6 = 0x86DD
ETHERTYPE_PPP = 0x880B  # RFC 7042; in GRE: RFC 2637
ETHERTYPE_MPLS = 0x8847  # RFC 3032
ETHERTYPE_MPLS_MULTICAST = 0x8848
ETHERTYPE_PPPOE_SESSION = 0x8864  # RFC 2516
ETHERTYPE_QINQ = 0x88A8  # IEEE 802.1ad
ETHERTYPE_ERSPAN_II = 0x88BE  # types I and II, draft-foschiano-erspan
ETHERTYPE_ERSPAN_III = 0x22EB
ETHERTYPE_VN_TAG = 0x8926  # Cisco's proposal for what became IEEE 802.1BR
ETHERTYPE_VLAN_9100 = 0x9100
ETHERTYPE_VLAN_9200 = 0x9200

# ---- PPP protocols (RFC 1661)
PPP_IPV4 = 0x0021  # RFC 1332
PPP_IPV6 = 0x0057  # RFC 5072
PPP_MPLS = 0x0281  # RFC 3032
PPP_MPLS_MULTICAST = 0x0283

# ---- IP protocols and IPv6 extension headers
IPPROTO_HOPOPTS = 0  # RFC 8200
IPPROTO_ICMP = 1  # RFC 792
IPPROTO_IPIP = 4  # RFC 2003
IPPROTO_TCP = 6  # RFC 9293
IPPROTO_UDP = 17  # RFC 768
IPPROTO_IPV6 = 41  # RFC 4213
IPPROTO_ROUTING = 43  # RFC 8200
IPPROTO_FRAGMENT = 44  # RFC 8200
IPPROTO_GRE = 47  # RFC 2784
IPPROTO_AH = 51  # RFC 4302
IPPROTO_ICMPV6 = 58  # RFC 4443
IPPROTO_NONE = 59  # RFC 8200: no next header
IPPROTO_DSTOPTS = 60  # RFC 8200
IPPROTO_SCTP = 132  # RFC 9260
IPPROTO_MOBILITY = 135  # RFC 6275
IPPROTO_HIP = 139  # RFC 7401
IPPROTO_SHIM6 = 140  # RFC 5533

# ---- UDP ports of tunnels
PORT_GTPU = 2152  # 3GPP TS 29.281
PORT_TEREDO = 3544  # RFC 4380
PORT_VXLAN = 4789  # RFC 7348
PORT_VXLAN_LINUX = 8472  # what Linux took before there was a number
PORT_CAPWAP_DATA = 5247  # RFC 5415
PORT_GENEVE = 6081  # RFC 8926

# ---- TCP flags (RFC 9293, 3.1; ECE and CWR: RFC 3168)
TCP_FIN, TCP_SYN, TCP_RST, TCP_PSH, TCP_ACK, TCP_URG, TCP_ECE, TCP_CWR = (1 << bit for bit in range(8))
