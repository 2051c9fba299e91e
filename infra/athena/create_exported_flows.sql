CREATE EXTERNAL TABLE IF NOT EXISTS flowlake.exported_flows
LOCATION 's3://flowlake/exported_flows/'
TBLPROPERTIES ('table_type' = 'DELTA');
