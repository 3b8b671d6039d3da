"""`fluidmcp install`, `list` and `uninstall`."""
