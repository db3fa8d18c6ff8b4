"""Models from and to registries: the protocol that Ollama's registry speaks, over the transport of `backends.http`."""
