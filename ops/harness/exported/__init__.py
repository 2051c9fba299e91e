"""A run of the whole way of exported flows: capture, routers of our own, collector, stream, stores.

:mod:`.routers` are the exporters; :mod:`.trial` starts everything and watches; :mod:`.account` compares what was exported with what is in
each store.
"""
