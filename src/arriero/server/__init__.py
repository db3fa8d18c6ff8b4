"""I/O inward: the HTTP server, its two lanes, the routes that are not inference, and the composition root."""
