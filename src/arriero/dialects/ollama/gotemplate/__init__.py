"""Prompt templates in Go's text/template language, as models of an Ollama store carry them.

`parse_template` reads one. A `Template` renders a conversation as Ollama would, tells what the model can do, and
translates itself to the jinja text that llama.cpp takes. Pure: the date is an argument.
"""

from arriero.dialects.ollama.gotemplate.faults import TemplateError
from arriero.dialects.ollama.gotemplate.tells import Tells
from arriero.dialects.ollama.gotemplate.template import Template, parse_template

__all__ = ["Tells", "Template", "TemplateError", "parse_template"]
