"""Bars as the files that other programs read, and the proof of what such files hold."""
