"""Numbers of the export protocols that have templates, as their messages begin (RFC 3954, 5.1; RFC 7011, 3.1)."""

NETFLOW9, IPFIX = 9, 10
