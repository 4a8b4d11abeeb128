"""Conformance v2: frames become canonical bars, by one taxonomy and one contract."""
