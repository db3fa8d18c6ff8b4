"""Model servers that people run themselves: one entry each, and the one for servers of which nothing is known."""

from msgspec.structs import replace

from arriero.dialects.quirks import THREE, Profile, ThinkRule, ThinkStyle, words

LLAMA_CPP = words(
    "temperature top_p top_k min_p typical_p seed presence_penalty frequency_penalty repeat_penalty repeat_last_n"
    " num_keep:n_keep"
)

# docs.vllm.ai, OpenAI-compatible server and reasoning outputs, 2026-11. `reasoning_effort` outside low, medium and high
# is a 400; `dimensions` is one for every model that is not Matryoshka, and the gateway cuts as well.
_vllm = Profile(
    name="vllm",
    error_type="vllm_error",
    sampling=words(
        "temperature top_p top_k min_p seed presence_penalty frequency_penalty repeat_penalty:repetition_penalty"
    ),
    think=(ThinkRule("", ThinkStyle.BOTH, THREE),),
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
    sampling=LLAMA_CPP,
    think=(ThinkRule("", ThinkStyle.BOTH, words("minimal low medium high xhigh:high max:high")),),
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
    sampling=words("temperature top_p top_k seed presence_penalty frequency_penalty repeat_penalty"),
    think=(ThinkRule("gpt-oss", ThinkStyle.EFFORT, THREE),),
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
    think=(ThinkRule("", ThinkStyle.EFFORT, words("off:none minimal:low low medium high xhigh:max max")),),
    reasoning_input="reasoning",
    tool_choice=False,
    parallel_tool_calls=False,
    forwards_client_address=True,
    blank_input=True,
)

# No vendor known: what every server of the kind takes. A level is sent because the client named one; on and off have no
# word that all of them know.
GENERIC = Profile(
    name="generic",
    key_variable="OPENAI_API_KEY",
    think=(ThinkRule("", ThinkStyle.EFFORT, words("minimal low medium high xhigh:high max:high")),),
)

# Servers of the house of which no more is known than that they speak the OpenAI wire: doors and listings know them.
_HOUSE = tuple(
    replace(GENERIC, name=name, error_type=f"{name}_error", key_variable=None, forwards_client_address=True)
    for name in ("litellm", "lmdeploy", "lemonade", "dmr", "omlx")
)

SERVERS: tuple[Profile, ...] = (_vllm, _sglang, _vllm_mlx, _llama_server, _engine, _lmstudio, _ollama, *_HOUSE, GENERIC)
"""Every server of the house, the one of which nothing is known last."""
