"""From Parquet to costs: SQL models, prices, imports, the command line."""
