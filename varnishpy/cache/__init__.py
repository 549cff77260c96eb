"""The cache: hash, object heads and cores, waiting lists, Vary, expiry, bans."""
