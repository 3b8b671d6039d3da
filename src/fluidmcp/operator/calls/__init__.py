"""The person at this machine as a client of a gateway: its packages, their tools, and a login where one is needed."""
