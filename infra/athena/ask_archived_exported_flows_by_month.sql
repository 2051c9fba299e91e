SELECT year, month, count(*) AS total_flows, sum(predicted_label) AS attacks
FROM flowlake.archived_exported_flows
WHERE year = 2024
GROUP BY year, month
ORDER BY year, month;
