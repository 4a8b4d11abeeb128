"""For those who build on this package: virtual time, in-memory twins, made-up bars."""
