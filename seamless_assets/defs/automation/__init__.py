"""Schedules and sensors: what is asked for without anybody asking."""
