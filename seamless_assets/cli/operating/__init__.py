"""The commands of those who run it: servers, metrics, and whether all is well."""
