"""The kind `scripted`: a model server that plays answers, recordings, delays and faults from a script.

It is shipped for trials and tests. It renders its own bytes and shares no code with the dialects, which are tested
against it. The format of the script is in docs/scripted.md.
"""

from arriero.backends.scripted.backend import Scripted
from arriero.backends.scripted.script import Script, ScriptError, parse_script, read_script
from arriero.backends.scripted.server import Received, ScriptedServer

__all__ = ["Received", "Script", "ScriptError", "Scripted", "ScriptedServer", "parse_script", "read_script"]
