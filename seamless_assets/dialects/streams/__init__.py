"""How exchanges write candles and trades over WebSocket: one venue a file, told apart by path."""
