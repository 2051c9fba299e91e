"""The other way: flows and sampled packets -> datagrams of NetFlow v5 and v9, IPFIX and sFlow v5. No socket, no file.

:mod:`.flowrows` makes flows of what the meter closes; :mod:`.netflow5out`, :mod:`.setsout` (v9 and IPFIX, by the templates of
:mod:`.outfields`) and :mod:`.sflowout` write datagrams; :mod:`.outgoing` is what they share: rules, clock, accounts.
"""
