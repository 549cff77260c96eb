"""The HTTP/2 server engine (RFC 9113, RFC 7541, RFC 9218).

One *session thread* per active connection does all socket I/O and makes all state changes; request threads hand it
frames to send and wake it through a descriptor. The protocol itself (``connection.py`` and what it uses) knows no
sockets: bytes go in, bytes and requests come out.
"""
