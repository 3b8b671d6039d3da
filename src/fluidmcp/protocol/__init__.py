"""Pure functions of MCP texts; no I/O, no clock."""
