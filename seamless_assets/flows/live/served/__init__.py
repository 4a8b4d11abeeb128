"""What an exchange would be asked for: pages of candles as they are known now, and channels of them."""
