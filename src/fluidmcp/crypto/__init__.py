"""Sealing and keyed digests: what other rooms need to keep a secret, or to recognise one."""
