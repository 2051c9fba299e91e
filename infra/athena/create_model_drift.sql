CREATE EXTERNAL TABLE IF NOT EXISTS flowlake.model_drift
LOCATION 's3://flowlake/model_drift/'
TBLPROPERTIES ('table_type' = 'DELTA');
