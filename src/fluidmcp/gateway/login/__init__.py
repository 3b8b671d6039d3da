"""The endpoints where people and clients log in."""
