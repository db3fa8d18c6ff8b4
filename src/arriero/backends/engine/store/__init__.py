"""The model store on disk, in Ollama's layout: manifests by name, blobs by content.

All of it blocks: call it in a thread. What a model means, and where it comes from, is not decided here.
"""
