"""What the team wrote."""
