"""Client connections: accepting them, PROXY protocol and TLS in front of HTTP, and their end."""
