"""What the `auth` of an entry may be: a login at a provider, keys that people type, or up to three of them by name."""
