"""The providers that variables name, as one table: the backend of each, its variables, and how much it is preferred.

Every vendor with a profile, an address and a key variable has a row; those that ollama-proxy knows have theirs written
out. What the variables say is read in `named`; nothing is read here.
"""

from typing import NamedTuple

from arriero.config import vendors


class Provider(NamedTuple):
    """One provider.

    - `name`: of the backend that its variables name; an entry of this name in the file is changed by them.
    - `words`: what the names of its variables begin with, the one to use first.
    - `keys`: the variables of its key.
    - `profile`: the vendor's; `None` where it is guessed from the URL, or the kind needs none.
    - `rank`: how much it is preferred where nobody says otherwise, 1 the most; `None` where ollama-proxy has no rank.
    - `addresses`: further variables of its URL, beside `<word>_BASE_URL`.
    - `url_alone`: a URL names it though there is no key.
    - `models`: variables that list its models, where it has no list of its own.
    """

    name: str
    words: tuple[str, ...]
    keys: tuple[str, ...]
    profile: str | None
    kind: str = "openai"
    rank: int | None = None
    addresses: tuple[str, ...] = ()
    url_alone: bool = False
    models: tuple[str, ...] = ()

    def names(self, setting: str) -> tuple[str, ...]:
        """Its variables for one of `SETTINGS`."""
        return tuple(f"{word}_{setting}" for word in self.words)

    @property
    def urls(self) -> tuple[str, ...]:
        return (*self.names("BASE_URL"), *self.addresses)


SETTINGS: dict[str, tuple[str, str]] = {
    "ENABLED": ("-", "`false` leaves the provider out; `true` without a key is a warning"),
    "BASE_URL": ("`url`", "its address"),
    "TIMEOUT": ("`timeouts.first_byte`, `timeouts.idle`", "seconds, from 1 to 3600"),
    "PRIORITY": ("`priority`", "1 is the most preferred; the backend's priority is 100 less this"),
    "MAX_CONCURRENT_REQUESTS": ("`max_concurrency`", "requests in flight at most, from 1 to 1000"),
}
"""What every provider has a variable for: `<word>_TIMEOUT` and so on; what it sets in the backend, its meaning."""

UNRANKED = 10
"""The rank of providers that ollama-proxy has none for."""

_LAST_RANK = 100
"""A rank and the priority of its backend are as many together: the one counts down, the other up."""


def priority_of(rank: int | None) -> int:
    """The priority of a backend by its provider's rank."""
    return max(0, _LAST_RANK - (UNRANKED if rank is None else rank))


def rank_of(priority: int) -> int:
    """The rank that a priority stands for."""
    return _LAST_RANK - priority


OPENAI = Provider("openai", ("OPENAI",), ("OPENAI_API_KEY",), None, rank=2, url_alone=True)
"""The backend that `--api-key` and `--base-url` set as well; its profile is guessed from its URL."""

OPENAI_SHORT = (("API_KEY",), ("BASE_URL",))
"""Short spellings of its key and URL. They count only where both are there: alone they may be anybody's."""

EXTRA_MODELS = ("MODELS",)
CAPABILITIES = ("CAPABILITIES", "CAPACITIES")
DEPRECATED = {"CAPACITIES": "CAPABILITIES"}

OPENROUTER = Provider("openrouter", ("OPENROUTER",), ("OPENROUTER_API_KEY",), "openrouter", rank=1)
OPENROUTER_KEYS = "sk-or-"
"""What its keys begin with."""

AZURE = Provider(
    "azure",
    ("AZURE", "AZURE_OPENAI"),
    ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"),
    "azure",
    rank=5,
    addresses=("AZURE_OPENAI_ENDPOINT",),
    models=("AZURE_DEPLOYMENTS",),
)
AZURE_VERSIONS = ("AZURE_API_VERSION", "AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION")

BEDROCK = Provider(
    "aws_bedrock",
    ("AWS_BEDROCK",),
    ("AWS_BEARER_TOKEN_BEDROCK", "AWS_BEDROCK_API_KEY"),
    "bedrock",
    rank=6,
    models=("AWS_BEDROCK_MODELS",),
)
BEDROCK_REGIONS = ("AWS_BEDROCK_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
BEDROCK_CREDENTIALS = ("AWS_BEDROCK_ACCESS_KEY", "AWS_BEDROCK_SECRET_KEY", "AWS_BEDROCK_SESSION_TOKEN")
"""What signs requests in AWS's own manner, which arriero does not."""

OLLAMA = Provider("ollama", ("OLLAMA",), ("OLLAMA_API_KEY",), None, kind="ollama", rank=7, url_alone=True)
OLLAMA_URL = "http://localhost:11434"

RANKED: tuple[Provider, ...] = (
    OPENROUTER,
    OPENAI,
    Provider("anthropic", ("ANTHROPIC",), ("ANTHROPIC_API_KEY",), "anthropic", rank=3),
    Provider("google", ("GOOGLE", "GEMINI"), ("GOOGLE_API_KEY", "GEMINI_API_KEY"), "google", rank=4),
    AZURE,
    BEDROCK,
    OLLAMA,
)
"""The providers of ollama-proxy, the most preferred first."""


def _others() -> tuple[Provider, ...]:
    taken = {key for row in RANKED for key in row.keys}
    found = []
    for profile, key in vendors.key_variables().items():
        if key not in taken:
            word = key.removesuffix("_API_KEY")
            models = () if vendors.has_list(profile) else (f"{word}_MODELS",)
            found.append(Provider(profile, (word,), (key,), profile, models=models))
    return tuple(found)


PROVIDERS: tuple[Provider, ...] = (*RANKED, *_others())
"""All of them, in the order of their backends."""


class Rule(NamedTuple):
    """Variables that several providers share, or one has beside those of `SETTINGS`."""

    names: tuple[str, ...]
    sets: str
    meaning: str


RULES: tuple[Rule, ...] = (
    Rule(
        ("MAX_CONCURRENT_REQUESTS",),
        "`max_concurrency` of each provider",
        "requests in flight at most, from 1 to 1000, where the provider's own variable says nothing",
    ),
    Rule(("HEALTH_CHECK_INTERVAL",), "`check_interval` of each provider", "seconds, at least 10"),
    Rule(
        AZURE_VERSIONS,
        "`query` of `azure`",
        "version of Azure's API; a date means the API with deployments in its paths, none or `preview` the v1 API",
    ),
    Rule(AZURE.models, "`extra_models` of `azure`", "the deployments, parted by commas: Azure has no list of them"),
    Rule(BEDROCK.models, "`extra_models` of `aws_bedrock`", "its models, parted by commas: it has no list of them"),
    Rule(BEDROCK_REGIONS, "`url` of `aws_bedrock`", "region, `us-east-1` where none is named"),
    Rule(
        BEDROCK_CREDENTIALS,
        "-",
        "a warning: arriero signs no requests; make a Bedrock API key and put it into `AWS_BEARER_TOKEN_BEDROCK`",
    ),
    Rule(("ENABLE_PRIORITIZATION",), "-", "accepted; nothing depends on it"),
    Rule(("ROUTING_RULES_PATH",), "-", "a warning: ollama-proxy never read that file; see `routing.aliases`"),
)  # fmt: skip


def every_name() -> list[str]:
    """Every variable that is about providers."""
    names = [name for pair in OPENAI_SHORT for name in pair] + [*EXTRA_MODELS, *CAPABILITIES]
    for row in PROVIDERS:
        names += [*row.keys, *row.addresses, *row.models]
        names += [name for setting in SETTINGS for name in row.names(setting)]
    names += [name for rule in RULES for name in rule.names]
    return list(dict.fromkeys(names))
