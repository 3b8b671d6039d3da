"""`run`, and what a gateway needs until it serves."""
