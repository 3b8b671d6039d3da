"""Which process serves a caller, when it may start, and how many there may be."""
