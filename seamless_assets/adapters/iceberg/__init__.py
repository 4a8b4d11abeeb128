"""Release logs as tables of Apache Iceberg over the same Parquet files."""
