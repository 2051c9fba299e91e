CREATE EXTERNAL TABLE IF NOT EXISTS flowlake.archived_interface_counters (
  `timestamp` timestamp,
  `counter_id` string,
  `collector` string,
  `exporter_ip` string,
  `interface` bigint,
  `interface_type` bigint,
  `speed` bigint,
  `duplex` string,
  `admin_up` boolean,
  `oper_up` boolean,
  `promiscuous` boolean,
  `in_bytes` bigint,
  `in_unicast` bigint,
  `in_multicast` bigint,
  `in_broadcast` bigint,
  `in_discards` bigint,
  `in_errors` bigint,
  `in_unknown` bigint,
  `out_bytes` bigint,
  `out_unicast` bigint,
  `out_multicast` bigint,
  `out_broadcast` bigint,
  `out_discards` bigint,
  `out_errors` bigint,
  `timestamp_us` bigint
)
PARTITIONED BY (`year` int, `month` int)
STORED AS PARQUET
LOCATION 's3://flowlake/archive/interface_counters/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.year.type' = 'integer',
  'projection.year.range' = '2010,2049',
  'projection.year.digits' = '4',
  'projection.month.type' = 'integer',
  'projection.month.range' = '1,12',
  'projection.month.digits' = '2',
  'storage.location.template' = 's3://flowlake/archive/interface_counters/year=${year}/month=${month}/'
);
