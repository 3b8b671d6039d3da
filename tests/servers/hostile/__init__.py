"""The attacks of hostile_server.py, by what they go for."""
