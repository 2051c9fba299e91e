"""Windows per source: what a host began in 5, 30 and 180 seconds, each made of the smaller ones. Pure; Spark drives it from elsewhere."""
