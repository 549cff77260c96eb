"""HTTP/2 towards clients: the sessions that drive the protocol of ``h2/`` with sockets and the thread pool.

One *session thread* per active connection does all socket I/O and makes all state changes; request threads hand it
frames to send and wake it through a descriptor.
"""
