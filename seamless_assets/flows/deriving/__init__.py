"""Series that are made of released bars: sealed and released with what they were made of."""
