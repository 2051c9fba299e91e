"""NetFlow v5 and v9, IPFIX and sFlow v5: datagrams -> columns of flow records. No Spark, no Kafka, no socket.

In the order of the work: :mod:`.decoder` takes datagrams and tells them apart; :mod:`.netflow5`, :mod:`.setmessages` (v9 and IPFIX, with
:mod:`.datasets`) and :mod:`.sflow` walk through one; :mod:`.templates`, :mod:`.optiondata`, :mod:`.sequence` and :mod:`.waiting` keep what
is known of an exporter in its :mod:`.session`; :mod:`.chunk` gathers records of one layout, and :mod:`.filling` reads them all at once into
:mod:`.columns`. What is kept between two calls goes to bytes and back in :mod:`.state`.
"""
