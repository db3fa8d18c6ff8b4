"""Values: what is said between a client and a model, in no vendor's words.

Only frozen values and pure functions over them live here. No bytes of any wire, no I/O, no clock.
"""
