"""The backends as they run: a name is one for each of its addresses, a local server one when it is found."""

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from arriero.config import Config, EngineConfig, OllamaConfig, OpenAIConfig
from arriero.config.backends import TimeoutOverride
from arriero.config.members import Host, OllamaAt, OpenAIAt, address_of, host_of, hosts_of, present
from arriero.config.values import check_name

GPU = OllamaConfig(name="gpu", url="http://gpu.svc:11434", discover="dns", priority=7)
LAB = OpenAIConfig(name="lab", url="https://lab.svc/v1", discover="dns", timeouts=TimeoutOverride(idle=None))
PLAIN = OllamaConfig(name="plain", url="http://10.0.0.9:11434")
ENGINE = EngineConfig(name="local")
FOUND = OllamaConfig(name="ollama", url="http://127.0.0.1:11434")
GPU_HOST, LAB_HOST = Host("gpu.svc", 11434), Host("lab.svc", 443)


def names(config: Config) -> list[str]:
    return [backend.name for backend in config.backends]


def test_what_is_looked_up() -> None:
    assert [host_of(backend) for backend in (GPU, LAB, PLAIN, ENGINE)] == [GPU_HOST, LAB_HOST, None, None]
    other = GPU.model_copy(update={"name": "other"})
    assert hosts_of(Config(backends=(GPU, PLAIN, LAB, other))) == (GPU_HOST, LAB_HOST)


def test_each_address_is_a_backend_in_the_place_of_the_name() -> None:
    config = Config(backends=(PLAIN, GPU, ENGINE))
    found = present(config, {GPU_HOST: ("10.0.0.1", "fd00::1")})
    first = OllamaAt(**{**dict(GPU), "name": "gpu-10.0.0.1", "address": "10.0.0.1"})
    second = OllamaAt(**{**dict(GPU), "name": "gpu-fd00--1", "address": "fd00::1"})
    assert found.backends == (PLAIN, first, second, ENGINE)
    assert [address_of(backend) for backend in found.backends] == [None, "10.0.0.1", "fd00::1", None]


def test_members_have_every_setting_of_the_name() -> None:
    config = Config(backends=(LAB,))
    (member,) = present(config, {LAB_HOST: ("10.0.0.1",)}).backends
    assert isinstance(member, OpenAIAt)
    assert (member.profile, member.url) == (LAB.profile, LAB.url)
    assert config.timeouts_of(member) == config.timeouts_of(LAB)  # `null` counts, as it was set
    assert config.timeouts_of(member).idle is None


def test_a_name_without_addresses_is_nobody() -> None:
    assert present(Config(backends=(GPU, PLAIN)), {}).backends == (PLAIN,)


def test_nothing_to_look_up_changes_nothing() -> None:
    config = Config(backends=(PLAIN, ENGINE))
    assert present(config, {GPU_HOST: ("10.0.0.1",)}, [FOUND]) == config


def test_a_name_that_somebody_has_gets_a_number() -> None:
    taken = PLAIN.model_copy(update={"name": "gpu-10.0.0.1"})
    found = present(Config(backends=(GPU, taken)), {GPU_HOST: ("10.0.0.1",)})
    assert names(found) == ["gpu-10.0.0.1-2", "gpu-10.0.0.1"]


def test_found_candidates_stand_behind_the_others() -> None:
    away = OpenAIConfig(name="vllm", url="http://127.0.0.1:8000/v1")
    config = Config(backends=(GPU, ENGINE))
    assert names(present(config, {GPU_HOST: ("10.0.0.1",)}, [FOUND, away], {"ollama", "gone"})) == [
        "gpu-10.0.0.1",
        "local",
        "ollama",
    ]
    named = PLAIN.model_copy(update={"name": "ollama"})
    assert present(Config(backends=(named,)), {}, [FOUND], {"ollama"}).backends == (named,)


@given(st.dictionaries(st.sampled_from([GPU_HOST, LAB_HOST]), st.lists(st.ip_addresses().map(str), unique=True)))
def test_names_are_valid_and_nobody_else_s(addresses: Mapping[Host, Sequence[str]]) -> None:
    clash = PLAIN.model_copy(update={"name": "gpu-0.0.0.0"})
    found = present(Config(backends=(GPU, clash, LAB)), addresses)
    assert len(set(names(found))) == len(found.backends) == 1 + sum(map(len, addresses.values()))
    assert [check_name(name) for name in names(found)] == names(found)
    assert [address_of(backend) for backend in found.backends if address_of(backend) is not None] == [
        *addresses.get(GPU_HOST, ()),
        *addresses.get(LAB_HOST, ()),
    ]
