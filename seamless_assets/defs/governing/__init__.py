"""What people do to releases by hand, as jobs, and told to Dagster whichever way it is done."""
