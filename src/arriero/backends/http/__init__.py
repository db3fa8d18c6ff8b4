"""The upstream HTTP/1.1 transport: one pool per backend, callbacks straight from the socket to a receiver."""
