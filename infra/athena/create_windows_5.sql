CREATE EXTERNAL TABLE IF NOT EXISTS flowlake.windows_5
LOCATION 's3://flowlake/windows_5/'
TBLPROPERTIES ('table_type' = 'DELTA');
