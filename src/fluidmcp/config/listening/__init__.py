"""Where a gateway listens, and under which address it is reached."""
