"""What a shell proposes when somebody presses Tab."""
