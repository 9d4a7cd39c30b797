"""From spans to rows to day-partitioned Parquet."""
