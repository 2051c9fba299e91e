CREATE EXTERNAL TABLE IF NOT EXISTS flowlake.quarantine
LOCATION 's3://flowlake/quarantine/'
TBLPROPERTIES ('table_type' = 'DELTA');
