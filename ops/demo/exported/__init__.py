"""The demo of flow exporters: a capture exported by routers of our own, collected, decoded, enriched, stored; accounts by record.

:mod:`.routers` are the exporters; :mod:`.trial` starts everything and watches; :mod:`.account` compares what was exported with what is in
each store; :mod:`.report` tells a person, and draws the page.
"""
