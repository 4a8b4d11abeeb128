"""The live world of dialects: exchanges' clocks, the candle that forms, how long an answer stands."""
