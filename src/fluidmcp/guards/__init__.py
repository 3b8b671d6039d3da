"""What guards a package and what guards the whole gateway, put together from the rooms below."""
