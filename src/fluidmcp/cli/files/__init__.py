"""`fluidmcp validate` and `fluidmcp import`."""
