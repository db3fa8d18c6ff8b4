"""What `ollama` does with models, done by the engine: create, pull, push, copy, delete and blobs."""
