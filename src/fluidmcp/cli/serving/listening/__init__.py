"""Where a gateway listens."""
