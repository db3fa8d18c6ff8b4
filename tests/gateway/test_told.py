"""What the operator tells of models, and where a backend's own word is stronger."""

import pytest
from msgspec.structs import replace

from arriero.canonical.catalog import Capability, ModelCard
from arriero.gateway.told import Told, completed

TOOLS, VISION = frozenset({Capability.TOOLS}), frozenset({Capability.VISION})
TOLD = Told(
    {"acme/*": TOOLS, "*": VISION}, {"acme/big*": 9000, "acme/*": 4096}, {"*:free": (0.0, 0.0), "acme/*": (1.0, 2.0)}
)


@pytest.mark.parametrize(
    ("id", "card"),
    [
        (
            "acme/small",
            ModelCard(id="acme/small", capabilities=TOOLS, context_length=4096, input_price=1.0, output_price=2.0),
        ),
        (
            "acme/big:free",
            ModelCard(id="acme/big:free", capabilities=TOOLS, context_length=9000, input_price=0.0, output_price=0.0),
        ),
        ("other", ModelCard(id="other", capabilities=VISION)),
    ],
)
def test_the_first_glob_that_covers_the_model_counts(id: str, card: ModelCard) -> None:
    assert TOLD.onto(ModelCard(id=id)) == card


def test_what_a_backend_tells_stays() -> None:
    card = ModelCard(id="acme/x", capabilities=VISION, context_length=5, input_price=7.0)
    assert TOLD.onto(card) == card
    assert TOLD.onto(replace(card, input_price=None)) == replace(card, input_price=1.0, output_price=2.0)


def test_of_one_backend_what_is_said_of_it_is_stronger_than_what_is_said_of_all() -> None:
    own = Told(capabilities={"*": TOOLS})
    assert completed([ModelCard(id="x")], (), own, TOLD) == (ModelCard(id="x", capabilities=TOOLS),)


def test_each_model_is_there_once_the_listed_one_first() -> None:
    listed = [ModelCard(id="x", context_length=5), ModelCard(id="X:latest", context_length=6)]
    found = completed(listed, ("x:latest", "y"), Told(), Told())
    assert found == (ModelCard(id="x", context_length=5), ModelCard(id="y"))
