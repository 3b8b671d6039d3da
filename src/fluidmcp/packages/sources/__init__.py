"""Packages by name: `npm:NAME` and `pypi:NAME`, installed below the installation directory and held by a lock."""
