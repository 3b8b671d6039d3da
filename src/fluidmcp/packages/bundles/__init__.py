"""MCPB bundles (`.mcpb`, formerly `.dxt`): from an archive to an installed package."""
