"""`fluidmcp providers`."""
