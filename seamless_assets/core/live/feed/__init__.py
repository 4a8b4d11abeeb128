"""What a stream of candle updates proves, and how far it is trusted."""
