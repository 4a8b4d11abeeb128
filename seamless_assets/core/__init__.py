"""The pure core: values and arithmetic without I/O, clock, environment or logging."""
