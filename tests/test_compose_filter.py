"""The rules of a filter file reach the roster."""

from arriero.compose import adopt, build, build_roster, bylaws
from arriero.config import Config
from arriero.routing.model_filter import EVERYTHING, ModelFilter

CONFIG = Config.model_validate(
    {"backends": [{"name": "play", "kind": "scripted"}], "models": {"exclude": ["gpt-4o-mini"]}}
)
RULES = ModelFilter(["gpt*"])


def test_the_bylaws_have_both_kinds_of_rules() -> None:
    found = bylaws(CONFIG, RULES)
    assert (found.filter, found.overall.exclude) == (RULES, ("gpt-4o-mini",))
    assert [found.admit(id) for id in ("gpt-4o", "gpt-4o-mini", "llama3")] == [True, False, False]
    assert bylaws(CONFIG).filter == EVERYTHING


async def test_a_roster_and_an_application_are_built_with_them() -> None:
    for roster in (build_roster(CONFIG, {}, RULES), build(CONFIG, {}, RULES).roster):
        await roster.refresh()
        assert (list(roster.names.models), len(roster.names.hidden)) == ([], 1)
        await roster.close()


async def test_other_rules_alone_are_adopted() -> None:
    app = build(CONFIG)
    play = app.roster.entries["play"].backend
    await app.roster.refresh()
    shown = list(app.roster.names.models)
    await adopt(app, CONFIG, CONFIG, {}, RULES)
    assert (list(app.roster.names.models), list(app.roster.names.hidden)) == ([], shown)
    assert app.roster.entries["play"].backend is play
    await adopt(app, CONFIG, CONFIG)
    assert list(app.roster.names.models) == shown != []
    await app.roster.close()
