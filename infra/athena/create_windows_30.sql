CREATE EXTERNAL TABLE IF NOT EXISTS flowlake.windows_30
LOCATION 's3://flowlake/windows_30/'
TBLPROPERTIES ('table_type' = 'DELTA');
