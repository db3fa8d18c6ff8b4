"""The capitals that the demo model knows, and how one asks for them."""

from __future__ import annotations

from .tables import Intent

CAPITALS = {
    "Argentina": "Buenos Aires",
    "Australia": "Canberra",
    "Austria": "Vienna",
    "Brazil": "Brasilia",
    "Canada": "Ottawa",
    "Chile": "Santiago",
    "China": "Beijing",
    "Colombia": "Bogota",
    "Ecuador": "Quito",
    "Egypt": "Cairo",
    "England": "London",
    "France": "Paris",
    "Germany": "Berlin",
    "Greece": "Athens",
    "India": "New Delhi",
    "Italy": "Rome",
    "Japan": "Tokyo",
    "Mexico": "Mexico City",
    "Norway": "Oslo",
    "Peru": "Lima",
    "Poland": "Warsaw",
    "Portugal": "Lisbon",
    "Russia": "Moscow",
    "Spain": "Madrid",
    "Sweden": "Stockholm",
    "Switzerland": "Bern",
}

TEMPLATES = (
    "what is [the|] capital [|city] of {}",
    "[which|what] city is the capital of {}",
    "[the|] capital of {}",
    "{} capital",
    "{}'s capital [|city]",
    "what is {}'s capital",
    "name [the capital of {}|{}'s capital|the capital city of {}]",
    "tell me [the capital of {}|{}'s capital|what the capital of {} is]",
    "do you know [the capital of {}|what the capital of {} is|{}'s capital city]",
    "[what|which] capital [does {} have|has {}]",
    "{} has [which|what] capital",
    "and [the capital of {}|of {}|{}]",
    "what is the [main|capital] city [in|of] {}",
    "[give me|I need|I am looking for] the capital of {}",
    "which capital belongs to {}",
    "what city is {}'s capital",
    "{}: [what is the capital|capital|its capital]",
)


def intents() -> tuple[Intent, ...]:
    """One intent for each country; all of them together weigh as much as four others."""
    return tuple(
        Intent(
            f"capital-of-{country}",
            tuple(template.replace("{}", country) for template in TEMPLATES),
            (f"The capital of {country} is {city}.",),
            weight=4 / len(CAPITALS),
        )
        for country, city in CAPITALS.items()
    )


def elsewhere(refusal: str) -> Intent:
    """The same questions about every other country, real or made up."""
    templates = tuple(template.replace("{}", "<elsewhere>") for template in TEMPLATES)
    return Intent("capital-of-elsewhere", templates, (refusal,))
