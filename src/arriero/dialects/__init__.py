"""Codecs: each dialect is a record of pure functions that serves clients and drives backends."""
