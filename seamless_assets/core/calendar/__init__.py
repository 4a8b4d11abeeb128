"""Time: instants, timeframes and their grids, segments, partitions, the watermark."""
