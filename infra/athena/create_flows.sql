CREATE EXTERNAL TABLE IF NOT EXISTS flowlake.flows
LOCATION 's3://flowlake/flows/'
TBLPROPERTIES ('table_type' = 'DELTA');
