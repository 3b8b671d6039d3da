"""Who is this bearer token, and may they in."""
