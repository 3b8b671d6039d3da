"""From what a package says to a running process: command, environment, home, and how it is started."""
