"""The ways to tell whose a token is."""
