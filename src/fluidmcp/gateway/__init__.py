"""The HTTP side: what is built, started and served."""
