"""Put with a time to live, take once, count."""
