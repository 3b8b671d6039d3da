"""`fluidmcp connect`."""
