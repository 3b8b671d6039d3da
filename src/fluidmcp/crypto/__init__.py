"""Sealing and keyed digests: what other rooms need to keep a secret, or to know one again."""
