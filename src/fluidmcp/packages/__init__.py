"""From a name to a server entry: where it is, and how to launch it."""
