"""One module for each subject: `cases(bench)` yields both sides of its lines (see `bench.goals`)."""
