"""How exchanges write candles, markets, limits and errors over HTTP: one venue a file, told apart by path."""
