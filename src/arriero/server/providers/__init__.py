"""ollama-proxy's surface: its health pages, its providers, its counts as JSON. A provider is a backend here."""
