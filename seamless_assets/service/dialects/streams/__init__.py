"""The channels of candles that exchanges have over WebSocket, over what the service follows."""
