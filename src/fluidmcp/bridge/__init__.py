"""MCP between HTTP clients and server processes; knows neither HTTP nor OAuth."""
