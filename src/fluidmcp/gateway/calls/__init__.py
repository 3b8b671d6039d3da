"""Calls of MCP clients as somebody sees them who looks on: when one has ended, and what it was."""
