"""HTTP/2 without sockets and threads: frames, header compression, streams, windows (RFC 9113, RFC 7541, RFC 9218).

Bytes go in, requests come out; responses go in, bytes come out. Who drives it, with a socket and a thread pool, is
``http2/``, or a test with byte strings. See ``connection.py``.
"""
