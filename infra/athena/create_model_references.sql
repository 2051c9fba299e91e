CREATE EXTERNAL TABLE IF NOT EXISTS flowlake.model_references
LOCATION 's3://flowlake/model_references/'
TBLPROPERTIES ('table_type' = 'DELTA');
