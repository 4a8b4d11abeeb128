"""The local exchange's WebSockets: what happens on its clock, sent to its subscribers, with faults."""
