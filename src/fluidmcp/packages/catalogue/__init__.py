"""The catalogue: published servers, with an entry for each that was seen to work."""
