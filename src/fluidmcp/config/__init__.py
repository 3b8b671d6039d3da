"""Environment and files become frozen values."""
