"""Decisions, pure: which models a name means, and which backend takes a request."""
