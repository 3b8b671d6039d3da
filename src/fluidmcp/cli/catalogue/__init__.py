"""`fluidmcp catalogue` and `fluidmcp add`."""
