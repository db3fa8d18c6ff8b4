"""Bytes: SSE and NDJSON framing, and edits of a JSON text that leave every other byte alone. Knows no dialect."""
