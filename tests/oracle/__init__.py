"""A second implementation of flow metering, for tests only: slow, plain, one packet at a time, standard library alone.

It was written from the definitions of the features and of the protocols, and shares no code with the product, so that a mistake
has to be made twice to go unseen. :mod:`tests.oracle.parse` takes frames apart, :mod:`tests.oracle.meter` forms flows,
:mod:`tests.oracle.features` computes a record from a flow's packets, :mod:`tests.oracle.capture` reads and writes capture files,
:mod:`tests.oracle.craft` builds frames, :mod:`tests.oracle.compare` sets two lists of records against each other.
"""
