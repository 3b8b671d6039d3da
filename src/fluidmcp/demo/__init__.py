"""The bundled development provider and mail server."""
