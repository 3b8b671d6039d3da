"""Well-known providers as values: what an `auth` block that names one need not say."""
