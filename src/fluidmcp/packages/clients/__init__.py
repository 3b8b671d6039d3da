"""How MCP clients are told of a package: their files, commands, links and steps, as data. Pure; no I/O.

The forms are those that the clients document, and those that the clients' own commands write where they have some.
"""
