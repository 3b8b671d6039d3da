"""The person at this machine: their login, the file that keeps it, and the token that others ask for."""
