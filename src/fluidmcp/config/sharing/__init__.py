"""What several gateways share, and where it is."""
