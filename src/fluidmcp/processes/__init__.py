"""Child processes; knows neither MCP nor HTTP."""
