"""Moving in: what other systems have kept in CSV files and SQLite becomes rows of the stores."""
