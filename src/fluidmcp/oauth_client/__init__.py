"""We are an OAuth client of a provider: find it, send people there, ask it for tokens.

All outbound HTTP goes through `fetch`.
"""
