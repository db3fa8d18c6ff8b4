"""What a profile is: a vendor's quirks as values. Which vendors there are stands in `vendors` and `servers`.

A profile says which knobs a backend's OpenAI-compatible API takes and by which names, how it switches thinking, where
it puts reasoning, how it authenticates, and where its model list tells what a model can do. Nothing here does anything.
"""

from collections.abc import Mapping
from enum import Enum
from fnmatch import fnmatchcase
from types import MappingProxyType
from urllib.parse import quote

from msgspec import Struct

NONE: Mapping[str, str] = MappingProxyType({})


class ThinkStyle(Enum):
    """How thinking is switched on and off."""

    EFFORT = "effort"  # `reasoning_effort`: a word
    TEMPLATE = "template"  # `chat_template_kwargs: {"enable_thinking": bool}`
    BOTH = "both"  # template kwargs, and the effort as one of them
    REASONING = "reasoning"  # `reasoning: {"effort"|"enabled"}` (OpenRouter)
    SWITCH = "switch"  # `reasoning: {"enabled": bool}` and `reasoning_effort` (Together)
    THINKING = "thinking"  # `thinking: {"type": "enabled"|"disabled"}` and `reasoning_effort` (DeepSeek)
    NONE = "none"  # the API has no such switch: the knob is dropped


class Paging(Enum):
    """How a list of models that comes in pages says where the next one is."""

    LINK = "link"  # `links.next`: a path with its query, or a whole URL (OpenRouter)
    AFTER = "after"  # `has_more` and `last_id`, which goes into the query as `after_id` (Anthropic)
    TOKEN = "token"  # `next_page_token`, which goes into the query as `page_token` (Cohere)


class ThinkRule(Struct, frozen=True):
    """How the models whose id fits `models` (a regular expression, searched) take the think knob.

    `words` maps `off`, `on` and each level (minimal, low, medium, high, xhigh, max) to the vendor's word. A key that is
    missing cannot be said to these models: `on` is then their default and nothing is sent, others are dropped by name.
    """

    models: str
    style: ThinkStyle
    words: Mapping[str, str] = NONE


def words(text: str) -> Mapping[str, str]:
    """`"off:none low max:high"` as a mapping; a key without a colon is its own word."""
    pairs = (word.partition(":") for word in text.split())
    return MappingProxyType({key: value or key for key, _, value in pairs})


def all_as(word: str) -> Mapping[str, str]:
    """Every level as the same word."""
    return MappingProxyType(dict.fromkeys(("minimal", "low", "medium", "high", "xhigh", "max"), word))


THREE = words("minimal:low low medium high xhigh:high max:high")
NONE_AND_THREE = words("off:none minimal:low low medium high xhigh:high max:high")
PLAIN = words("temperature top_p presence_penalty frequency_penalty")
OPENAI_KNOBS = words("temperature top_p seed presence_penalty frequency_penalty")


class Profile(Struct, frozen=True, kw_only=True):
    """One vendor. The defaults describe the careful reading of "OpenAI-compatible".

    - `title`: the vendor's name for people; its words in an error stand behind it. `""` for servers of the house.
    - `hosts`: host names (and their subdomains) by which `guess` knows the vendor; with `*` in it, a glob.
    - `base_path`: what its base URLs end with, where two profiles have the same hosts.
    - `region`: the part of `base_url` that stands for the vendor's region, which an operator may want another of.
    - `key_variable`: the environment variable that holds the key where the configuration names none.
    - `auth_header`, `auth_prefix`: where the key goes, and what stands before it.
    - `headers`, `query`: sent with every request; the backend's own settings are stronger.
    - `model_path`: what stands before the path of a request about a model, with `{model}` for its name there.
    - `carried`: top-level fields of the vendor's own that clients of other dialects may send as well: they travel on.
    - `max_tokens`: the vendor's field for the answer's length limit.
    - `sampling`: canonical knobs (fields of `Sampling`) and the vendor's names for them; what is missing is dropped.
    - `max_stops`: how many stop strings it takes; `None` for no limit.
    - `think`: the first rule that fits the model's id; with none, off needs no word and anything else is dropped.
    - `reasoning_input`: the field in which it takes an assistant's earlier reasoning back; `None`: it takes none.
    - `reasoning_demanded`: that field must stand in every assistant message, if need be empty.
    - `first_call`: a JSON member for the first call of each assistant message, as text.
    - `json_object`, `json_schema`: the kinds of `response_format` it takes.
    - `completion_schema`: the field of `/completions` that takes a schema; `None`: there is none.
    - `call_id_length`: tool call ids must be this many letters and digits.
    - `blank_input`: embeds an empty string; others answer 400 to one.
    - `dimensions`: its field for the length of a vector; `None`: it has none or refuses it for ordinary models.
    - `models_path` goes behind the base URL, or behind the host where `models_at_host`; `None`: the vendor has no list
      of what can be asked for, so that the operator names the models. `models_query` goes with it, `models_auth` is the
      header and prefix of its key where they are others there. `paging`: how it comes in pages; `None`: it is whole.
    - `variants`: tags that it takes behind any id, and that its list does not have.
    - `id_prefix`: what the ids of its list begin with and its other paths do not need.
    - `details_path` goes behind the base URL without its last `/v1`, and tells more of the models than the list does.
    - `check_path` goes behind the base URL and shows whether the vendor takes the key, where there is no list.
    - `forwards_client_address`: it is a server of the house, and may learn the client's address and model.
    - `price_keys`: where an entry of its list holds the prices of prompt and answer in its object `pricing`, and what
      they have to be multiplied by to be US dollars for a million tokens; `None`: it tells none.
    - `context_keys`: where an entry of its list holds the context length, the first that is a number.
    """

    name: str
    title: str = ""
    base_url: str | None = None
    hosts: tuple[str, ...] = ()
    base_path: str = ""
    region: str | None = None
    error_type: str = "openai_error"
    key_variable: str | None = None
    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    headers: Mapping[str, str] = NONE
    query: Mapping[str, str] = NONE
    model_path: str = ""
    carried: frozenset[str] = frozenset()
    max_tokens: str = "max_tokens"
    sampling: Mapping[str, str] = OPENAI_KNOBS
    max_stops: int | None = None
    think: tuple[ThinkRule, ...] = ()
    reasoning_input: str | None = None
    reasoning_demanded: bool = False
    first_call: tuple[str, str] | None = None
    json_object: bool = True
    json_schema: bool = True
    completion_schema: str | None = None
    stream_options: bool = True
    tool_choice: bool = True
    parallel_tool_calls: bool = True
    logprobs: bool = True
    call_id_length: int | None = None
    forwards_client_address: bool = False
    embed_batch: int = 2048
    blank_input: bool = False
    dimensions: str | None = "dimensions"
    models_path: str | None = "/models"
    models_at_host: bool = False
    models_query: Mapping[str, str] = NONE
    models_auth: tuple[str, str] | None = None
    paging: Paging | None = None
    variants: tuple[str, ...] = ()
    id_prefix: str = ""
    check_path: str | None = None
    details_path: str | None = None
    price_keys: tuple[str, str, float] | None = None
    context_keys: tuple[str, ...] = (
        "context_length",
        "max_model_len",
        "context_window",
        "max_context_length",
        "max_input_tokens",
    )

    def has_host(self, host: str) -> bool:
        """Whether a host is the vendor's, or below it."""
        return any(
            fnmatchcase(host, known) if "*" in known else host == known or host.endswith("." + known)
            for known in self.hosts
        )

    def path_of(self, path: str, model: str) -> str:
        """A request's path for the model of this name."""
        return self.model_path.replace("{model}", quote(model, safe="")) + path if self.model_path else path
