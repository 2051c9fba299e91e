CREATE EXTERNAL TABLE IF NOT EXISTS flowlake.windows_180
LOCATION 's3://flowlake/windows_180/'
TBLPROPERTIES ('table_type' = 'DELTA');
