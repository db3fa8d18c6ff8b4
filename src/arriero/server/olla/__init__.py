"""Olla's surface: its `/internal/*` answers, its listings and its words, so that what reads them need not change."""
