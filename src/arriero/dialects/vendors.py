"""The vendors: one entry each, and nothing that does anything.

Adding a vendor that speaks the OpenAI wire is one entry here. Each names the vendor's own documentation it was read
from, with the date.
"""

from types import MappingProxyType

from msgspec.structs import replace

from arriero.dialects.quirks import (
    NONE_AND_THREE,
    PLAIN,
    THREE,
    Paging,
    Profile,
    ThinkRule,
    ThinkStyle,
    all_as,
    words,
)

OPENAI_EFFORTS = (
    # The o family and the codex models cannot be stopped from thinking; the first gpt-5 can nearly; from gpt-5.1 on
    # there is "none", and it is the default, so that `on` needs a word. Other models refuse the parameter: no rule.
    ThinkRule(r"(^|/)o\d|(^|/)gpt-5(\.1)?-codex", ThinkStyle.EFFORT, THREE),
    ThinkRule(r"(^|/)gpt-5-pro", ThinkStyle.EFFORT, all_as("high")),
    ThinkRule(
        r"(^|/)gpt-\d+\.\d+-pro",
        ThinkStyle.EFFORT,
        words("minimal:medium low:medium medium high xhigh max:xhigh"),
    ),
    ThinkRule(
        r"(^|/)gpt-5($|-(?!chat))",
        ThinkStyle.EFFORT,
        words("off:minimal minimal low medium high xhigh:high max:high"),
    ),
    ThinkRule(
        r"(^|/)gpt-(5\.[2-9]|[6-9])(?!.*-chat)",
        ThinkStyle.EFFORT,
        words("off:none on:medium minimal:low low medium high xhigh max:xhigh"),
    ),
    ThinkRule(
        r"(^|/)gpt-5\.1(?!.*-chat)",
        ThinkStyle.EFFORT,
        words("off:none on:medium minimal:low low medium high xhigh:high max:high"),
    ),
)

# platform.openai.com/docs/api-reference/chat and guides/reasoning, 2026-11. `max_completion_tokens` is valid for every
# chat model and the only one that the reasoning models take. At most four stop strings.
_openai = Profile(
    name="openai",
    title="OpenAI",
    base_url="https://api.openai.com/v1",
    hosts=("api.openai.com",),
    key_variable="OPENAI_API_KEY",
    max_tokens="max_completion_tokens",
    max_stops=4,
    think=OPENAI_EFFORTS,
)

# learn.microsoft.com/azure/foundry/openai/api-version-lifecycle and /reference, the v1 API, 2026-11:
# https://RESOURCE.openai.azure.com/openai/v1 needs no api-version. `model` is the name of a deployment, and no list has
# these: /models tells what could be deployed. It shows whether the key is taken.
_azure = Profile(
    name="azure",
    title="Azure",
    hosts=("openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com"),
    base_path="/v1",
    error_type="azure_error",
    key_variable="AZURE_API_KEY",
    auth_header="api-key",
    auth_prefix="",
    max_tokens="max_completion_tokens",
    max_stops=4,
    think=OPENAI_EFFORTS,
    models_path=None,
    check_path="/models",
)

# learn.microsoft.com/azure/ai-services/openai/reference, 2026-11: the API with dates for versions, behind
# https://RESOURCE.openai.azure.com/openai. The deployment stands in the path; 2024-10-21 is the last that is no
# preview.
_azure_deployments = replace(
    _azure,
    name="azure-deployments",
    title="Azure",
    base_path="",
    query=MappingProxyType({"api-version": "2024-10-21"}),
    model_path="/deployments/{model}",
)

# docs.aws.amazon.com/bedrock, userguide/inference-chat-completions and /endpoints, 2026-11: the OpenAI-compatible half
# of bedrock-runtime, with a Bedrock API key. It has no list; the ids are those of the console (openai.gpt-oss-20b-1:0).
_bedrock = Profile(
    name="bedrock",
    title="AWS Bedrock",
    base_url="https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1",
    hosts=("bedrock-runtime.*.amazonaws.com",),
    region="us-east-1",
    error_type="bedrock_error",
    key_variable="AWS_BEARER_TOKEN_BEDROCK",
    max_tokens="max_completion_tokens",
    think=(ThinkRule("gpt-oss", ThinkStyle.EFFORT, THREE),),
    models_path=None,
)

# The same, userguide/inference-responses-api and /models-get-info, 2026-11: the other endpoint of the same keys, which
# lists its models. Some of them stand behind /openai/v1 instead.
_bedrock_mantle = replace(
    _bedrock,
    name="bedrock-mantle",
    base_url="https://bedrock-mantle.us-east-1.api.aws/v1",
    hosts=("bedrock-mantle.*.api.aws",),
    key_variable=None,
    models_path="/models",
)

# openrouter.ai/docs/api-reference/parameters, use-cases/reasoning-tokens, /overview and app-attribution, 2026-11. It
# leaves out what the model behind it does not take, so nothing needs to be held back. The list has 500 models a page,
# and without `output_modalities` only those that write text. `transforms` is the old word for one of its `plugins`.
# Variants that only say how to route are in no list (guides/routing/model-variants/overview); `:free` and its kin are.
_openrouter = Profile(
    name="openrouter",
    title="OpenRouter",
    base_url="https://openrouter.ai/api/v1",
    hosts=("openrouter.ai",),
    error_type="openrouter_error",
    key_variable="OPENROUTER_API_KEY",
    # By these it tells applications apart; one without a page of its own is known by its title.
    headers=MappingProxyType({"HTTP-Referer": "http://localhost:11434", "X-Title": "arriero"}),
    carried=frozenset(
        words(
            "provider models route transforms plugins reasoning include_reasoning usage session_id trace user metadata"
            " service_tier verbosity top_a logit_bias tool_choice parallel_tool_calls"
        )
    ),
    sampling=words(
        "temperature top_p top_k min_p seed presence_penalty frequency_penalty repeat_penalty:repetition_penalty"
    ),
    think=(ThinkRule("", ThinkStyle.REASONING, words("off:none minimal low medium high xhigh max:xhigh")),),
    reasoning_input="reasoning",
    models_query=MappingProxyType({"output_modalities": "all"}),
    variants=("nitro", "floor", "exacto", "online"),
    paging=Paging.LINK,
    price_keys=("prompt", "completion", 1e6),
)

# console.groq.com/docs/api-reference and /docs/reasoning, 2026-11. No model accepts the penalties, logprobs are a 400;
# qwen3 knows "none" and "default", gpt-oss the three levels.
_groq = Profile(
    name="groq",
    title="Groq",
    base_url="https://api.groq.com/openai/v1",
    hosts=("api.groq.com",),
    error_type="groq_error",
    key_variable="GROQ_API_KEY",
    max_tokens="max_completion_tokens",
    sampling=words("temperature top_p seed"),
    max_stops=4,
    think=(
        ThinkRule("gpt-oss", ThinkStyle.EFFORT, THREE),
        ThinkRule(
            "qwen3",
            ThinkStyle.EFFORT,
            MappingProxyType({"off": "none", "on": "default", **all_as("default")}),
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
    title="Mistral",
    base_url="https://api.mistral.ai/v1",
    hosts=("api.mistral.ai", "codestral.mistral.ai"),
    error_type="mistral_error",
    key_variable="MISTRAL_API_KEY",
    sampling=words("temperature top_p seed:random_seed presence_penalty frequency_penalty"),
    think=(
        ThinkRule(
            r"mistral-(small-(latest|26\d\d|[4-9])|medium-(3[-.]5|[4-9]))",
            ThinkStyle.EFFORT,
            MappingProxyType({"off": "none", "on": "high", **all_as("high")}),
        ),
        ThinkRule(r"mistral-large-[4-9]", ThinkStyle.EFFORT, THREE),
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
    title="DeepSeek",
    base_url="https://api.deepseek.com/v1",
    hosts=("api.deepseek.com",),
    error_type="deepseek_error",
    key_variable="DEEPSEEK_API_KEY",
    sampling=PLAIN,
    max_stops=16,
    think=(ThinkRule("", ThinkStyle.THINKING, words("minimal:low low medium:high high xhigh:high max")),),
    reasoning_input="reasoning_content",
    reasoning_demanded=True,
    json_schema=False,
    parallel_tool_calls=False,
)

# docs.x.ai, chat completions and guides/reasoning, 2026-11. Models without a rule refuse `reasoning_effort` whatever
# its value; the reasoning models refuse penalties and stop strings too, which a table of knobs cannot say.
_xai = Profile(
    name="xai",
    title="xAI",
    base_url="https://api.x.ai/v1",
    hosts=("api.x.ai",),
    error_type="xai_error",
    key_variable="XAI_API_KEY",
    max_tokens="max_completion_tokens",
    max_stops=4,
    think=(
        ThinkRule("grok-3-mini", ThinkStyle.EFFORT, words("minimal:low low medium:high high xhigh:high max:high")),
        ThinkRule(r"grok-4\.3", ThinkStyle.EFFORT, NONE_AND_THREE),
        ThinkRule(r"grok-(4\.[5-9](?!\d)|[5-9])", ThinkStyle.EFFORT, THREE),
    ),
    reasoning_input="reasoning_content",
)

# docs.together.ai/reference/chat-completions and /docs/reasoning, 2026-11. The model list is a bare array.
_together = Profile(
    name="together",
    title="Together AI",
    base_url="https://api.together.xyz/v1",
    hosts=("api.together.xyz", "api.together.ai"),
    error_type="together_error",
    key_variable="TOGETHER_API_KEY",
    sampling=words(
        "temperature top_p top_k min_p seed presence_penalty frequency_penalty repeat_penalty:repetition_penalty"
    ),
    think=(
        ThinkRule("gpt-oss", ThinkStyle.EFFORT, THREE),
        ThinkRule("", ThinkStyle.SWITCH, THREE),
    ),
    reasoning_input="reasoning",
    price_keys=("input", "output", 1.0),
)

# ai.google.dev/gemini-api/docs/openai and /thought-signatures, 2026-11. Ids in the list begin with `models/`. No seed.
# From Gemini 3 on a call without its signature is a 400; the word here is the documented one for calls that have none.
# The API below embeds a hundred texts at once (BatchEmbedTextRequest).
_google = Profile(
    name="google",
    title="Google",
    base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    hosts=("generativelanguage.googleapis.com",),
    error_type="google_error",
    key_variable="GEMINI_API_KEY",
    embed_batch=100,
    sampling=PLAIN,
    max_stops=5,
    think=(
        ThinkRule(r"gemini-2\.5-flash", ThinkStyle.EFFORT, NONE_AND_THREE),
        ThinkRule(r"gemini-2\.5", ThinkStyle.EFFORT, THREE),
        ThinkRule(r"gemini-[3-9]", ThinkStyle.EFFORT, words("minimal low medium high xhigh:high max:high")),
    ),
    id_prefix="models/",
    first_call=("extra_content", '{"google":{"thought_signature":"skip_thought_signature_validator"}}'),
    parallel_tool_calls=False,
    logprobs=False,
)

# docs.perplexity.ai/docs/sonar/openai-compatibility, 2026-11. No list of the Sonar models, and no tools. Usage comes in
# every chunk.
_perplexity = Profile(
    name="perplexity",
    title="Perplexity",
    base_url="https://api.perplexity.ai",
    hosts=("api.perplexity.ai",),
    error_type="perplexity_error",
    key_variable="PERPLEXITY_API_KEY",
    sampling=PLAIN,
    think=(ThinkRule("deep-research", ThinkStyle.EFFORT, words("minimal low medium high xhigh:high max:high")),),
    json_object=False,
    stream_options=False,
    tool_choice=False,
    parallel_tool_calls=False,
    logprobs=False,
    dimensions=None,
    models_path=None,
)

# docs.cohere.com/docs/compatibility-api and /reference/list-models, 2026-11. The compatibility API has no list; the one
# of the API proper stands at the same host. It embeds 96 texts at once (/reference/embed). `stream_options` is refused
# (strandsagents.com, model-providers/cohere).
_cohere = Profile(
    name="cohere",
    title="Cohere",
    base_url="https://api.cohere.ai/compatibility/v1",
    hosts=("api.cohere.ai", "api.cohere.com"),
    error_type="cohere_error",
    key_variable="COHERE_API_KEY",
    max_stops=5,
    embed_batch=96,
    think=(
        ThinkRule("reasoning", ThinkStyle.EFFORT, MappingProxyType({"off": "none", "on": "high", **all_as("high")})),
    ),
    stream_options=False,
    parallel_tool_calls=False,
    logprobs=False,
    dimensions=None,
    models_path="/v1/models",
    models_at_host=True,
    models_query=MappingProxyType({"page_size": "1000"}),
    paging=Paging.TOKEN,
)

# docs.fireworks.ai/guides/reasoning and /tools-sdks/openai-compatibility, 2026-11. Ids are accounts/OWNER/models/NAME.
_fireworks = Profile(
    name="fireworks",
    title="Fireworks AI",
    base_url="https://api.fireworks.ai/inference/v1",
    hosts=("api.fireworks.ai",),
    error_type="fireworks_error",
    key_variable="FIREWORKS_API_KEY",
    sampling=words(
        "temperature top_p top_k min_p typical_p seed presence_penalty frequency_penalty"
        " repeat_penalty:repetition_penalty"
    ),
    max_stops=4,
    think=(
        ThinkRule("gpt-oss|kimi", ThinkStyle.EFFORT, THREE),
        ThinkRule("glm-", ThinkStyle.EFFORT, words("off:none minimal:high low:high medium:high high xhigh:max max")),
        ThinkRule("deepseek-v", ThinkStyle.EFFORT, words("off:none minimal:low low medium high xhigh max:xhigh")),
        ThinkRule("", ThinkStyle.EFFORT, NONE_AND_THREE),
    ),
    reasoning_input="reasoning_content",
)

# inference-docs.cerebras.ai/resources/openai, /capabilities/reasoning and /api-reference/models/list-models, 2026-11.
# The penalties and `parallel_tool_calls` are a 400; gpt-oss knows three levels, GLM only "none".
_cerebras = Profile(
    name="cerebras",
    title="Cerebras",
    base_url="https://api.cerebras.ai/v1",
    hosts=("api.cerebras.ai",),
    error_type="cerebras_error",
    key_variable="CEREBRAS_API_KEY",
    max_tokens="max_completion_tokens",
    sampling=words("temperature top_p seed"),
    max_stops=4,
    think=(
        ThinkRule("gpt-oss", ThinkStyle.EFFORT, THREE),
        ThinkRule("glm", ThinkStyle.EFFORT, words("off:none")),
    ),
    reasoning_input="reasoning",
    parallel_tool_calls=False,
)

# platform.claude.com/docs/en/api/openai-sdk and /api/models-list, 2026-11: the compatibility layer. It ignores seed,
# penalties, formats, logprobs and the effort, and thinking has no word but a budget. The list is the API proper's,
# which wants its own header for the key.
_anthropic = Profile(
    name="anthropic",
    title="Anthropic",
    base_url="https://api.anthropic.com/v1",
    hosts=("api.anthropic.com",),
    error_type="anthropic_error",
    key_variable="ANTHROPIC_API_KEY",
    headers=MappingProxyType({"anthropic-version": "2023-06-01"}),
    sampling=words("temperature top_p"),
    json_object=False,
    json_schema=False,
    logprobs=False,
    dimensions=None,
    models_query=MappingProxyType({"limit": "1000"}),
    models_auth=("x-api-key", ""),
    paging=Paging.AFTER,
)

# huggingface.co/docs/inference-providers, 2026-11: the router to many vendors. Its documentation calls the key
# HF_TOKEN, which is on many machines for downloads; a word of its own keeps those from paying for requests.
_huggingface = Profile(
    name="huggingface",
    title="Hugging Face",
    base_url="https://router.huggingface.co/v1",
    hosts=("router.huggingface.co",),
    error_type="huggingface_error",
    key_variable="HUGGINGFACE_API_KEY",
    think=(ThinkRule("gpt-oss", ThinkStyle.EFFORT, THREE),),
    dimensions=None,
)

VENDORS: tuple[Profile, ...] = (
    _openai,
    _azure,
    _azure_deployments,
    _bedrock,
    _bedrock_mantle,
    _openrouter,
    _groq,
    _mistral,
    _deepseek,
    _xai,
    _together,
    _google,
    _perplexity,
    _cohere,
    _fireworks,
    _cerebras,
    _anthropic,
    _huggingface,
)
"""Every vendor, in the order in which `guess` looks for a host."""
