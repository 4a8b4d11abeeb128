"""The local exchange's WebSockets: what happens on its clock, told to whoever follows it, with faults."""
