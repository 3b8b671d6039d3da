"""What stands for something else in an entry: placeholders, and commands of another system."""
