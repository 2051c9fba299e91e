"""Sensor of flow exporters: datagrams of NetFlow, IPFIX and sFlow to ``flows.raw``, undecoded.

In the order of the way: :mod:`.sockets` listens, :mod:`.draining` takes what has come, :mod:`.workers` does so in threads; :mod:`.intake`
decides what is kept, by :mod:`.pressure` and the rates of the :mod:`.exporters`, and puts it into the queue of :mod:`.waiting`;
:mod:`.encoding` makes messages of it, and :mod:`.publishing` sends them. :mod:`.sensor` is all of that; :mod:`.account` says what became of
the datagrams, :mod:`.condition` and :mod:`.metrics` how it does. :mod:`.streams` says what belongs together; :mod:`.recorded` and
:mod:`.replaying` take datagrams from capture files; :mod:`.sending` is an exporter.
"""
