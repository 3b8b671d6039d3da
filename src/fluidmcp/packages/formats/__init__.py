"""The shapes of configuration files that people have, each translated into the entries of our own file."""
