"""Our part of the HTTP server: common requests of MCP clients without a task, and bounds on slow clients."""
