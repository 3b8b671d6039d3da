"""The endpoints that MCP clients talk to."""
