"""From files of any shape to one of our own, without the secrets in them."""
