"""FluidMCP: MCP servers behind one HTTP gateway, with OAuth in front and a server process per person."""

__version__ = "0.1.0"
