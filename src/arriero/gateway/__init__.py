"""The drive: takes an exchange from a client's bytes to a backend and back."""
