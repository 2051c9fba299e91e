"""Source of flow exporters: NetFlow, IPFIX and sFlow to exported flows, enriched, scored, stored and alerted about."""
