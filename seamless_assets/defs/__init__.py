"""The Dagster shell: assets, checks, partitions, resources, IO manager and jobs over the plain face."""
