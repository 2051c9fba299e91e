CREATE EXTERNAL TABLE IF NOT EXISTS flowlake.labels
LOCATION 's3://flowlake/labels/'
TBLPROPERTIES ('table_type' = 'DELTA');
