"""Everything that passes between the parts of flowlake, defined once.

Topics, the wire format of packets, the feature table, flow records, predictions, the tables of the stores.
Nothing outside this package repeats a column list.
"""
