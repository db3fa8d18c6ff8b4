"""Vendors' quirks as data: one entry a vendor, and nothing that does anything.

A profile says which knobs a backend's OpenAI-compatible API takes and by which names, how it switches thinking, where
it puts reasoning, how it authenticates, and where its model list tells what a model can do. Adding a vendor that speaks
the OpenAI wire is one entry here. Each entry names the vendor's own documentation it was read from, with the date.
"""

import difflib
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

_NONE: Mapping[str, str] = MappingProxyType({})


class ThinkStyle(Enum):
    """How thinking is switched on and off."""

    EFFORT = "effort"  # `reasoning_effort`: a word
    TEMPLATE = "template"  # `chat_template_kwargs: {"enable_thinking": bool}`
    BOTH = "both"  # template kwargs, and the effort as one of them
    REASONING = "reasoning"  # `reasoning: {"effort"|"enabled"}` (OpenRouter)
    SWITCH = "switch"  # `reasoning: {"enabled": bool}` and `reasoning_effort` (Together)
    THINKING = "thinking"  # `thinking: {"type": "enabled"|"disabled"}` and `reasoning_effort` (DeepSeek)
    NONE = "none"  # the API has no such switch: the knob is dropped


class ThinkRule(Struct, frozen=True):
    """How the models whose id fits `models` (a regular expression, searched) take the think knob.

    `words` maps `off`, `on` and each level (minimal, low, medium, high, xhigh, max) to the vendor's word. A key that is
    missing cannot be said to these models: `on` is then their default and nothing is sent, others are dropped by name.
    """

    models: str
    style: ThinkStyle
    words: Mapping[str, str] = _NONE


def _words(words: str) -> Mapping[str, str]:
    """`"off:none low max:high"` as a mapping; a key without a colon is its own word."""
    pairs = (word.partition(":") for word in words.split())
    return MappingProxyType({key: value or key for key, _, value in pairs})


def _all_as(word: str) -> Mapping[str, str]:
    """Every level as the same word."""
    return MappingProxyType(dict.fromkeys(("minimal", "low", "medium", "high", "xhigh", "max"), word))


_THREE = _words("minimal:low low medium high xhigh:high max:high")
_NONE_AND_THREE = _words("off:none minimal:low low medium high xhigh:high max:high")
_PLAIN = _words("temperature top_p presence_penalty frequency_penalty")
_OPENAI = _words("temperature top_p seed presence_penalty frequency_penalty")
_LLAMA_CPP = _words(
    "temperature top_p top_k min_p typical_p seed presence_penalty frequency_penalty repeat_penalty repeat_last_n"
    " num_keep:n_keep"
)
_OPENAI_EFFORTS = (
    # The o family and the codex models cannot be stopped from thinking; the first gpt-5 can nearly; from gpt-5.1 on
    # there is "none", and it is the default, so that `on` needs a word. Other models refuse the parameter: no rule.
    ThinkRule(r"(^|/)o\d|(^|/)gpt-5(\.1)?-codex", ThinkStyle.EFFORT, _THREE),
    ThinkRule(r"(^|/)gpt-5-pro", ThinkStyle.EFFORT, _all_as("high")),
    ThinkRule(
        r"(^|/)gpt-\d+\.\d+-pro",
        ThinkStyle.EFFORT,
        _words("minimal:medium low:medium medium high xhigh max:xhigh"),
    ),
    ThinkRule(
        r"(^|/)gpt-5($|-(?!chat))",
        ThinkStyle.EFFORT,
        _words("off:minimal minimal low medium high xhigh:high max:high"),
    ),
    ThinkRule(
        r"(^|/)gpt-(5\.[2-9]|[6-9])(?!.*-chat)",
        ThinkStyle.EFFORT,
        _words("off:none on:medium minimal:low low medium high xhigh max:xhigh"),
    ),
    ThinkRule(
        r"(^|/)gpt-5\.1(?!.*-chat)",
        ThinkStyle.EFFORT,
        _words("off:none on:medium minimal:low low medium high xhigh:high max:high"),
    ),
)


class Profile(Struct, frozen=True, kw_only=True):
    """One vendor. The defaults describe the careful reading of "OpenAI-compatible".

    - `hosts`: host names (and their subdomains) by which `guess` knows the vendor.
    - `key_variable`: the environment variable that holds the key where the configuration names none.
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
    - `models_path` goes behind the base URL; `details_path` behind the base URL without its last `/v1`, and tells more
      of the models than the list does.
    - `forwards_client_address`: it is a server of the house, and may learn the client's address and model.
    - `price_keys`: where an entry of its list holds the prices of prompt and answer in its object `pricing`, and what
      they have to be multiplied by to be US dollars for a million tokens; `None`: it tells none.
    - `context_keys`: where an entry of its list holds the context length, the first that is a number.
    """

    name: str
    base_url: str | None = None
    hosts: tuple[str, ...] = ()
    error_type: str = "openai_error"
    key_variable: str | None = None
    auth_header: str = "authorization"
    auth_prefix: str = "Bearer "
    headers: Mapping[str, str] = _NONE
    query: Mapping[str, str] = _NONE
    max_tokens: str = "max_tokens"
    sampling: Mapping[str, str] = _OPENAI
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
    models_path: str = "/models"
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
        return any(host == known or host.endswith("." + known) for known in self.hosts)


# ---- the vendors, each with what it was read from ------------------------------------------------------------------

# platform.openai.com/docs/api-reference/chat and guides/reasoning, 2026-11. `max_completion_tokens` is valid for every
# chat model and the only one that the reasoning models take. At most four stop strings.
_openai = Profile(
    name="openai",
    base_url="https://api.openai.com/v1",
    hosts=("api.openai.com",),
    key_variable="OPENAI_API_KEY",
    max_tokens="max_completion_tokens",
    max_stops=4,
    think=_OPENAI_EFFORTS,
)

# learn.microsoft.com/azure/ai-foundry/openai, the v1 API, 2026-11: https://RESOURCE.openai.azure.com/openai/v1 needs no
# api-version; `model` is the name of a deployment, which often but not always is the model's.
_azure = Profile(
    name="azure",
    hosts=("openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com"),
    error_type="azure_error",
    key_variable="AZURE_API_KEY",
    auth_header="api-key",
    auth_prefix="",
    max_tokens="max_completion_tokens",
    max_stops=4,
    think=_OPENAI_EFFORTS,
)

# openrouter.ai/docs/api-reference/parameters and use-cases/reasoning-tokens, 2026-11. It leaves out what the model
# behind it does not take, so nothing needs to be held back.
_openrouter = Profile(
    name="openrouter",
    base_url="https://openrouter.ai/api/v1",
    hosts=("openrouter.ai",),
    error_type="openrouter_error",
    key_variable="OPENROUTER_API_KEY",
    sampling=_words(
        "temperature top_p top_k min_p seed presence_penalty frequency_penalty repeat_penalty:repetition_penalty"
    ),
    think=(ThinkRule("", ThinkStyle.REASONING, _words("off:none minimal low medium high xhigh max:xhigh")),),
    reasoning_input="reasoning",
    price_keys=("prompt", "completion", 1e6),
)

# docs.vllm.ai, OpenAI-compatible server and reasoning outputs, 2026-11. `reasoning_effort` outside low, medium and high
# is a 400; `dimensions` is one for every model that is not Matryoshka, and the gateway cuts as well.
_vllm = Profile(
    name="vllm",
    error_type="vllm_error",
    sampling=_words(
        "temperature top_p top_k min_p seed presence_penalty frequency_penalty repeat_penalty:repetition_penalty"
    ),
    think=(ThinkRule("", ThinkStyle.BOTH, _THREE),),
    reasoning_input="reasoning_content",
    completion_schema="response_format",
    dimensions=None,
    forwards_client_address=True,
)

# Servers that speak as vLLM does, as far as is known of them.
_sglang = replace(_vllm, name="sglang", error_type="sglang_error")
_vllm_mlx = replace(_vllm, name="vllm-mlx", error_type="vllm-mlx_error")

# github.com/ggml-org/llama.cpp tools/server/README.md, 2026-11. Unknown fields are ignored.
_llama_server = Profile(
    name="llama-server",
    error_type="llama-server_error",
    sampling=_LLAMA_CPP,
    think=(ThinkRule("", ThinkStyle.BOTH, _words("minimal low medium high xhigh:high max:high")),),
    reasoning_input="reasoning_content",
    completion_schema="json_schema",
    blank_input=True,
    details_path="/props",
    forwards_client_address=True,
)

# The same server as arriero's own child process. It refuses an empty text where the vocabulary has no start token.
_engine = Profile(
    name="engine",
    error_type="engine_error",
    sampling=_llama_server.sampling,
    think=_llama_server.think,
    reasoning_input="reasoning_content",
    completion_schema="json_schema",
    details_path="/props",
)

# lmstudio.ai/docs/developer/openai-compat and /rest, 2026-11. `response_format` takes `json_schema` and nothing else;
# the list under /v1 has ids only, /api/v0/models has the rest.
_lmstudio = Profile(
    name="lmstudio",
    base_url="http://localhost:1234/v1",
    error_type="lmstudio_error",
    sampling=_words("temperature top_p top_k seed presence_penalty frequency_penalty repeat_penalty"),
    think=(ThinkRule("gpt-oss", ThinkStyle.EFFORT, _THREE),),
    json_object=False,
    logprobs=False,
    dimensions=None,
    details_path="/api/v0/models",
    # The loaded length is the one that a request meets; the greatest possible one says what could be loaded.
    context_keys=("loaded_context_length", "max_context_length"),
    forwards_client_address=True,
)

# docs.ollama.com/api/openai-compatibility, 2026-11: Ollama's own /v1.
_ollama = Profile(
    name="ollama",
    base_url="http://localhost:11434/v1",
    hosts=("ollama.com",),
    error_type="ollama_error",
    key_variable="OLLAMA_API_KEY",
    think=(ThinkRule("", ThinkStyle.EFFORT, _words("off:none minimal:low low medium high xhigh:max max")),),
    reasoning_input="reasoning",
    tool_choice=False,
    parallel_tool_calls=False,
    forwards_client_address=True,
    blank_input=True,
)

# console.groq.com/docs/api-reference and /docs/reasoning, 2026-11. No model accepts the penalties, logprobs are a 400;
# qwen3 knows "none" and "default", gpt-oss the three levels.
_groq = Profile(
    name="groq",
    base_url="https://api.groq.com/openai/v1",
    hosts=("api.groq.com",),
    error_type="groq_error",
    key_variable="GROQ_API_KEY",
    max_tokens="max_completion_tokens",
    sampling=_words("temperature top_p seed"),
    max_stops=4,
    think=(
        ThinkRule("gpt-oss", ThinkStyle.EFFORT, _THREE),
        ThinkRule(
            "qwen3",
            ThinkStyle.EFFORT,
            MappingProxyType({"off": "none", "on": "default", **_all_as("default")}),
        ),
    ),
    reasoning_input="reasoning",
    logprobs=False,
    context_keys=("context_window",),
)

# docs.mistral.ai/api and /capabilities/reasoning, 2026-11. A field it does not know is a 422, so `stream_options` stays
# out (usage comes in the last chunk anyway); tool call ids are exactly nine letters and digits. Magistral models think
# always.
_mistral = Profile(
    name="mistral",
    base_url="https://api.mistral.ai/v1",
    hosts=("api.mistral.ai", "codestral.mistral.ai"),
    error_type="mistral_error",
    key_variable="MISTRAL_API_KEY",
    sampling=_words("temperature top_p seed:random_seed presence_penalty frequency_penalty"),
    think=(
        ThinkRule(
            r"mistral-(small-(latest|26\d\d|[4-9])|medium-(3[-.]5|[4-9]))",
            ThinkStyle.EFFORT,
            MappingProxyType({"off": "none", "on": "high", **_all_as("high")}),
        ),
        ThinkRule(r"mistral-large-[4-9]", ThinkStyle.EFFORT, _THREE),
    ),
    stream_options=False,
    logprobs=False,
    call_id_length=9,
    dimensions="output_dimension",
    context_keys=("max_context_length",),
)

# api-docs.deepseek.com, chat completion and guides/thinking_mode, 2026-11. Thinking is on unless switched off; in a
# tool loop the reasoning must come back, and a message without the field is a 400, while an empty one passes
# (openclaw/openclaw#73417, earendil-works/pi#3659). No seed, no schemas.
_deepseek = Profile(
    name="deepseek",
    base_url="https://api.deepseek.com/v1",
    hosts=("api.deepseek.com",),
    error_type="deepseek_error",
    key_variable="DEEPSEEK_API_KEY",
    sampling=_PLAIN,
    max_stops=16,
    think=(ThinkRule("", ThinkStyle.THINKING, _words("minimal:low low medium:high high xhigh:high max")),),
    reasoning_input="reasoning_content",
    reasoning_demanded=True,
    json_schema=False,
    parallel_tool_calls=False,
)

# docs.x.ai, chat completions and guides/reasoning, 2026-11. Models without a rule refuse `reasoning_effort` whatever
# its value; the reasoning models refuse penalties and stop strings too, which a table of knobs cannot say.
_xai = Profile(
    name="xai",
    base_url="https://api.x.ai/v1",
    hosts=("api.x.ai",),
    error_type="xai_error",
    key_variable="XAI_API_KEY",
    max_tokens="max_completion_tokens",
    max_stops=4,
    think=(
        ThinkRule("grok-3-mini", ThinkStyle.EFFORT, _words("minimal:low low medium:high high xhigh:high max:high")),
        ThinkRule(r"grok-4\.3", ThinkStyle.EFFORT, _NONE_AND_THREE),
        ThinkRule(r"grok-(4\.[5-9](?!\d)|[5-9])", ThinkStyle.EFFORT, _THREE),
    ),
    reasoning_input="reasoning_content",
)

# docs.together.ai/reference/chat-completions and /docs/reasoning, 2026-11. The model list is a bare array.
_together = Profile(
    name="together",
    base_url="https://api.together.xyz/v1",
    hosts=("api.together.xyz", "api.together.ai"),
    error_type="together_error",
    key_variable="TOGETHER_API_KEY",
    sampling=_words(
        "temperature top_p top_k min_p seed presence_penalty frequency_penalty repeat_penalty:repetition_penalty"
    ),
    think=(
        ThinkRule("gpt-oss", ThinkStyle.EFFORT, _THREE),
        ThinkRule("", ThinkStyle.SWITCH, _THREE),
    ),
    reasoning_input="reasoning",
    price_keys=("input", "output", 1.0),
)

# ai.google.dev/gemini-api/docs/openai and /thought-signatures, 2026-11. Ids in the list begin with `models/`. No seed.
# From Gemini 3 on a call without its signature is a 400; the word here is the documented one for calls that have none.
_google = Profile(
    name="google",
    base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    hosts=("generativelanguage.googleapis.com",),
    error_type="google_error",
    key_variable="GEMINI_API_KEY",
    sampling=_PLAIN,
    max_stops=5,
    think=(
        ThinkRule(r"gemini-2\.5-flash", ThinkStyle.EFFORT, _NONE_AND_THREE),
        ThinkRule(r"gemini-2\.5", ThinkStyle.EFFORT, _THREE),
        ThinkRule(r"gemini-[3-9]", ThinkStyle.EFFORT, _words("minimal low medium high xhigh:high max:high")),
    ),
    first_call=("extra_content", '{"google":{"thought_signature":"skip_thought_signature_validator"}}'),
    parallel_tool_calls=False,
    logprobs=False,
)

# No vendor known: what every server of the kind takes. A level is sent because the client named one; on and off have no
# word that all of them know.
_generic = Profile(
    name="generic",
    key_variable="OPENAI_API_KEY",
    think=(ThinkRule("", ThinkStyle.EFFORT, _words("minimal low medium high xhigh:high max:high")),),
)

# Servers of the house of which no more is known than that they speak the OpenAI wire: doors and listings know them.
_HOUSE = tuple(
    replace(_generic, name=name, error_type=f"{name}_error", key_variable=None, forwards_client_address=True)
    for name in ("litellm", "lmdeploy", "lemonade", "dmr", "omlx")
)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            _openai,
            _azure,
            _openrouter,
            _vllm,
            _sglang,
            _vllm_mlx,
            _llama_server,
            _engine,
            _lmstudio,
            _ollama,
            _groq,
            _mistral,
            _deepseek,
            _xai,
            _together,
            _google,
            *_HOUSE,
            _generic,
        )
    }
)
"""Every vendor by name."""


def profile_of(name: str) -> Profile:
    """The profile of a name as configured. Raises `ValueError` that names the nearest ones."""
    try:
        return PROFILES[name]
    except KeyError:
        near = difflib.get_close_matches(name.lower(), PROFILES, n=3, cutoff=0.5) or sorted(PROFILES)
        raise ValueError(f"unknown profile {name!r}; did you mean {' or '.join(near)}?") from None


def guess(base_url: str) -> Profile:
    """The profile of the vendor whose host name the URL has, else `generic`. A scheme may be missing."""
    try:
        host = urlsplit(base_url if "//" in base_url else f"//{base_url}").hostname or ""
    except ValueError:
        return _generic
    for profile in PROFILES.values():
        if profile.has_host(host):
            return profile
    return _generic
