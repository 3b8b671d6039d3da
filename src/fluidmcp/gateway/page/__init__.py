"""The page for people at `/`: who sees what of it, and where that comes from."""
