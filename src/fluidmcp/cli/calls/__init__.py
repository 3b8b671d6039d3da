"""`fluidmcp tools` and `fluidmcp call`."""
