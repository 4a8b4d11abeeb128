"""Dagster's runs on the workers of a cluster; needs the extra `cluster`."""
