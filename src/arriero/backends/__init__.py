"""I/O outward: places that run models, and the one HTTP/1.1 transport that reaches them."""
