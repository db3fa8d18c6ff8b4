"""Settings without effect are named at the start."""

from arriero.config import Config
from arriero.pending import PENDING, without_effect


def test_the_defaults_need_no_word() -> None:
    assert without_effect(Config()) == []


def test_every_listed_setting_is_one() -> None:
    for name in PENDING:
        value: object = Config()
        for part in name.split("."):
            value = getattr(value, part)


def test_what_is_set_and_does_nothing_is_named() -> None:
    config = Config.model_validate(
        {"server": {"workers": 2}, "routing": {"policy": "cheapest", "sticky": {"enabled": True}}}
    )
    assert without_effect(config) == [
        "server.workers has no effect in this version",
        "routing.sticky has no effect in this version",
        "routing.policy: cheapest is not there in this version; least-connections is used instead",
    ]


def test_the_policies_that_are_there_need_no_word() -> None:
    assert without_effect(Config.model_validate({"routing": {"policy": "priority"}})) == []
