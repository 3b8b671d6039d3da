"""What the OpenAPI document says of endpoints that FastAPI does not know."""
