"""We are the OAuth authorization server of MCP clients, one for each package."""
