"""`doctor URL`: the way of MCP clients from the first call to the tools, walked from outside."""
