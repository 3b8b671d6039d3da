"""What keeps one process from others: levels, what it may reach, and the starter that confines it."""
