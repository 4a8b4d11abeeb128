"""`seamless accept`: the five benchmarks that a release of the system must pass."""
