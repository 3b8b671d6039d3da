"""The endpoints of whoever runs the gateway, and what OpenAPI says of those that are none of FastAPI's."""
