"""How fast gateways are, FluidMCP and others, side by side in one run: `scripts/bench`. Never part of the tests."""
