"""`login`, `logout`, `status` and `token`: the person at this machine."""
