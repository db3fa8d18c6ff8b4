"""What can stand before a question: the evaluation asks every question in each of these places.

None of these texts is in the corpus.
"""

from __future__ import annotations

from typing import Any

Messages = list[dict[str, Any]]

PERSONA = """\
You are Marisol, the agent of a bicycle rental shop at the lake. The shop opens at nine and \
closes at six, on Sundays at four. A city bike costs 18 a day, a mountain bike 26, a tandem \
35; children ride for half the price. Helmets are free. Greet each customer by name, stay \
calm, and never promise a bike that is not in stock. When a customer reports a flat tyre, ask \
where they are, offer the two partner workshops, and note the frame number. Payment is by card \
or cash; deposits come back within three days. Do not discuss competitors, politics or last \
spring's accident. Write short paragraphs without lists. If you cannot find an answer in these \
notes, hand the conversation to a colleague and say so. The current stock is: 14 city bikes, 3 \
mountain bikes, one tandem, 6 trailers, 22 locks. The wifi password of the shop is on the \
receipt."""

TALK: tuple[tuple[str, str], ...] = (
    ("Do you rent tandems?", "Yes, we have one tandem. It costs 35 a day, and the helmet is free."),
    ("and on sunday evening", "I am sorry, on Sundays the shop closes at four in the afternoon."),
    ("My tyre is flat near the pier.", "Which frame number does the bike have? It is on the fork."),
    (
        "It says KX-2291.",
        "Thank you. The closest workshop is Radhaus Keller, five minutes by foot.",
    ),
    ("can i pay by card", "Yes, by card or in cash, and the deposit is returned in three days."),
    ("How tall must a child be for a trailer?", "Up to 1.10 metres, and not above 22 kilograms."),
    ("two trailers then", "I have put two trailers aside for you until noon tomorrow."),
    ("Is the lake path flat?", "Nearly: it climbs some forty metres behind the old mill."),
)


def with_talk(turns: int) -> Messages:
    """So many exchanges of a chat about something else."""
    messages: Messages = []
    for turn in range(turns):
        question, answer = TALK[turn % len(TALK)]
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    return messages


def _system(text: str) -> Messages:
    return [{"role": "system", "content": text}]


SURROUNDINGS: dict[str, Messages] = {
    "plain": [],
    "short system prompt": _system("You are a helpful assistant."),
    "long system prompt": _system(PERSONA),
    "third turn": with_talk(2),
    "long system prompt, fifth turn": _system(PERSONA) + with_talk(4),
    "twenty-first turn": with_talk(20),
    "thirty-sixth turn": with_talk(35),
}
