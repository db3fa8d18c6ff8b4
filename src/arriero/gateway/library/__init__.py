"""Library operations: pull, push, create, copy, delete and blobs, carried out by the backends that manage models."""

from arriero.gateway.library.library import Library
from arriero.gateway.library.targets import UNSUPPORTED

__all__ = ["UNSUPPORTED", "Library"]
