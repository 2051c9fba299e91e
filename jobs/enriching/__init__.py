"""What is known about the ends of a flow and its service. No Spark, no Kafka.

:mod:`.enricher` gives the columns about addresses: names (:mod:`.hostnames`), places and autonomous systems (:mod:`.geo`), clouds
(:mod:`.cloudranges`, :mod:`.inventory`), and what is inside (:mod:`.prefixes`). :mod:`.roles` tells who began and which service was asked
for, with the table in :mod:`.services`. All of it works on columns: an address that stands in many records is looked up once, and what was
found is remembered for as long as the process lives.
"""
