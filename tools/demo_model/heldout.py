"""Sixty questions that the corpus does not contain, and what counts as a right answer to each.

The list is written before the model has been trained and the corpus is never adjusted to one of its
entries. `corpus.leaks` checks that no entry can be produced by the corpus. For work on the corpus
there is a second list of the same form, `tuning.py`, so that this one stays unseen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

REFUSAL = r"\bI (do not know|cannot|do not do)\b"
"""How every refusal of the model reads."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the pattern that a right answer contains (case is ignored)."""

    text: str
    pattern: str

    @property
    def in_scope(self) -> bool:
        """Whether the model is expected to answer rather than to refuse."""
        return self.pattern != REFUSAL

    def accepts(self, answer: str) -> bool:
        """Whether `answer` is right. A refusal with the right words in it is not."""
        if self.in_scope and answer.startswith("I do not know"):
            return False
        return re.search(self.pattern, answer, re.IGNORECASE) is not None


HELD_OUT: tuple[Question, ...] = (
    # Small talk.
    Question("Good day to you", r"hello|hi there"),
    Question("Hope you're doing well today?", r"\bfine\b"),
    Question("Could you introduce yourself in a few words?", r"demo model"),
    Question("So, what kind of thing am I chatting with?", r"demo model"),
    Question("Which team trained you?", r"arriero project"),
    Question("which topics may I ask about?", r"what I can|ask me|I can"),
    Question("much obliged, that helped a lot", r"welcome"),
    Question("alright, I'm off now, take care", r"goodbye"),
    Question("How many parameters have you got?", r"million"),
    Question("Are other languages besides English possible?", r"English"),
    Question("do you accept pictures?", r"text"),
    # arriero.
    Question("In plain words, what's arriero meant for?", r"gateway"),
    Question("Can you give me a quick overview of the arriero project?", r"gateway"),
    Question("why did they pick the name arriero", r"mule|llama"),
    Question("I've got a second Ollama box on my network, how can arriero use it?", r"arriero\.yaml"),
    Question("steps for hooking up one more backend", r"arriero\.yaml"),
    Question("Where should my GGUF downloads go?", r"\.arriero/models"),
    Question("I saved a .gguf file, how do I make arriero see it?", r"\.arriero/models"),
    Question("is there a way to see every model that's available", r"/api/tags"),
    Question("What's the command to launch arriero?", r"arriero serve"),
    Question("On which port is it listening by default?", r"11434"),
    Question("how to kill the running server", r"Ctrl"),
    Question("what's the config file called?", r"arriero\.yaml"),
    Question("how can I use my OpenAI key with arriero?", r"OPENAI_API_KEY"),
    Question("Will software written for the OpenAI API work here?", r"/v1"),
    Question("how can I get rid of the demo model in the listing", r"demo_model: false"),
    Question("under what name is this demo model listed", r"arriero-demo"),
    Question("Must I sign up for an account?", r"\bno\b.*account"),
    Question("Does anything I write get uploaded somewhere?", r"leaves"),
    Question("My laptop has no internet at the moment, is that a problem?", r"network|internet"),
    Question("will it run with no graphics card at all?", r"CPU"),
    # The world, as far as it goes.
    Question("Why's the sky such a blue colour?", r"scatter"),
    Question("How come we see a blue sky in the daytime?", r"scatter"),
    Question("for what reason are tree leaves green", r"chlorophyll"),
    Question("got any good jokes?", r"mule|llama|computer|packet"),
    Question("I'd love a short poem, please", r"mule|llama"),
    Question("please read me a bedtime story", r"once"),
    Question("What do you call the capital city of Japan?", r"Tokyo"),
    Question("france's capital is which city?", r"Paris"),
    Question("can you recite the weekdays?", r"Monday, Tuesday"),
    Question("explain to a child what a language model is", r"\btext\b"),
    Question("what sort of animal is a llama?", r"South America"),
    # Out of scope: a refusal is right.
    Question("What is 17 + 25?", REFUSAL),
    Question("how much is nine times six", REFUSAL),
    Question("What is the capital of Mongolia?", REFUSAL),
    Question("who painted the Mona Lisa?", REFUSAL),
    Question("Write a Python script that sorts a list of names", REFUSAL),
    Question("Translate 'good night' into Italian", REFUSAL),
    Question("what will bitcoin be worth next month?", REFUSAL),
    Question("who is the president of Brazil right now", REFUSAL),
    Question("my knee hurts when I run, what should I do?", REFUSAL),
    Question("Summarise the plot of Hamlet", REFUSAL),
    Question("when did the titanic sink?", REFUSAL),
    Question("how do I bake sourdough bread", REFUSAL),
    Question("Which is heavier, a blue whale or a lorry?", REFUSAL),
    Question("asdf qwer zxcv", REFUSAL),
    Question("compare Rust and Go for web servers", REFUSAL),
    Question("recommend a good restaurant in Lisbon", REFUSAL),
    Question("what's the boiling point of ethanol", REFUSAL),
    Question("draft an email telling my boss I'm ill", REFUSAL),
)
