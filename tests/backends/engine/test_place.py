"""What a place makes of a request before llama.cpp sees it: lengths, suffixes, pictures."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec import Raw
from msgspec.structs import replace

from arriero.backends.base import Tuning
from arriero.backends.engine.infill import Fill, Marks
from arriero.backends.engine.instance import key_of
from arriero.backends.engine.machine import Machine
from arriero.backends.engine.place import EnginePlace
from arriero.backends.engine.scheduler import Scheduler, Settings
from arriero.canonical.requests import (
    Audio,
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Image,
    Message,
    Opaque,
    Part,
    Request,
    Scalar,
    Text,
)
from arriero.errors import BadRequest, ContextExceeded, UnsupportedCapability, UnsupportedContent
from support.engine import FakeMachine, models_in, needs_engine
from support.gguf import projector, random_llama
from support.pictures import png

pytestmark = needs_engine

MARKS = Marks("<|im_start|>", "<|im_end|>", "<|endoftext|>")


class Places:
    """Places on one small model, with eyes or without."""

    def __init__(self, scheduler: Scheduler, folder: Path) -> None:
        self.scheduler = scheduler
        self.blind = models_in(folder)["tiny:latest"]
        self.seeing = replace(self.blind, projector=projector(folder / "eyes.bin"))
        self.held: list[EnginePlace] = []

    async def take(self, *, eyes: bool = False, embedding: bool = False, fill: Fill | None = None) -> EnginePlace:
        model = self.seeing if eyes else self.blind
        lease = await self.scheduler.acquire(model, context_length=512, embedding=embedding)
        place = EnginePlace(lease, ((b"content-type", b"application/json"),), fill)
        self.held.append(place)
        return place


@pytest_asyncio.fixture
async def places(tmp_path: Path, sockets: Path) -> AsyncIterator[Places]:
    random_llama(tmp_path / "tiny.gguf")
    machine: Machine = FakeMachine()
    settings = Settings(environment={"XDG_RUNTIME_DIR": str(sockets)}, threads=1)
    scheduler = Scheduler(settings, label="local", machine=machine, clock=lambda: 0.0)
    made = Places(scheduler, tmp_path)
    yield made
    for place in made.held:
        place.release(None)
    await scheduler.close()


def chat(*parts: Part, **runner: Scalar) -> ChatRequest:
    return ChatRequest(model="tiny", messages=(Message("user", parts),), runner=runner)


# ---- texts to embed --------------------------------------------------------------------------------------------------


async def test_inputs_are_cut_to_the_context_in_tokens(places: Places) -> None:
    place = await places.take(embedding=True)
    short, long = "hello", "x" * 2000
    fitted = await place.fit(EmbedRequest(model="tiny", inputs=(short, long, tuple(range(600)))))
    assert isinstance(fitted, EmbedRequest)
    assert fitted.inputs[0] == short
    assert [len(one) for one in fitted.inputs[1:]] == [512, 512]
    fitted = await place.fit(EmbedRequest(model="tiny", inputs=(long,), runner={"num_ctx": 300}))
    assert isinstance(fitted, EmbedRequest)
    # The process has more room than this request has a right to.
    assert len(fitted.inputs[0]) == 300
    with pytest.raises(BadRequest, match="the input length exceeds the context length"):
        await place.fit(EmbedRequest(model="tiny", inputs=(long,), truncate=False))


# ---- text to fill in -------------------------------------------------------------------------------------------------


async def test_prefix_and_suffix_become_one_prompt(places: Places) -> None:
    place = await places.take(fill=MARKS)
    plain = CompletionRequest(model="tiny", prompt="def f(")
    assert await place.fit(plain) is plain
    assert await place.fit(CompletionRequest(model="tiny", prompt="def f(", suffix="return x")) == CompletionRequest(
        model="tiny", prompt="<|im_start|>def f(<|im_end|>return x<|endoftext|>"
    )


async def test_too_long_a_text_keeps_what_is_next_to_the_gap(places: Places) -> None:
    place = await places.take(fill=MARKS)
    request = CompletionRequest(model="tiny", prompt="a" * 3000 + "b", suffix="c" + "d" * 3000)
    fitted = await place.fit(request)
    assert isinstance(fitted, CompletionRequest)
    prefix, _, suffix = fitted.prompt.removeprefix("<|im_start|>").partition("<|im_end|>")
    assert prefix.endswith("ab")
    assert suffix.startswith("cd")
    assert suffix.endswith("d<|endoftext|>")
    assert 200 < len(prefix) + len(suffix) < 512
    assert len(prefix) > 2 * len(suffix)
    with pytest.raises(ContextExceeded):
        await place.fit(CompletionRequest(model="tiny", prompt="a" * 3000, suffix="b", truncate=False))


async def test_without_marks_a_suffix_is_refused(places: Places) -> None:
    place = await places.take()
    with pytest.raises(UnsupportedCapability, match='"tiny" does not support insert'):
        await place.fit(CompletionRequest(model="tiny", prompt="a", suffix="b"))


# ---- pictures and sounds ---------------------------------------------------------------------------------------------


async def test_words_alone_are_left_alone(places: Places) -> None:
    place = await places.take()
    request = chat(Text("hi"))
    assert await place.fit(request) is request


@pytest.mark.parametrize("given", [Image(data=png()), Image(url=f"data:image/x;base64,{png()}")])
async def test_a_picture_goes_along_as_its_bytes(given: Image, places: Places) -> None:
    place = await places.take(eyes=True)
    request = chat(Text("what is it?"), given)
    fitted = await place.fit(request)
    assert fitted == chat(Text("what is it?"), Image(data=png(), media_type="image/png"))
    # Never the client's own bytes: who knows what else stands in there.
    assert fitted is not request


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (Image(url="http://127.0.0.1:1/x.png"), "image URLs are not currently supported"),
        (Image(url="file:///etc/passwd"), "image URLs are not currently supported"),
        (Image(data=base64.b64encode(b"RIFFxxxxWEBPVP8 ").decode()), "an image cannot be decoded: send PNG, JPEG"),
        (Image(data=base64.b64encode(b"hello").decode()), "an image cannot be decoded: send PNG, JPEG"),
        (Image(data="@"), "an image cannot be decoded: send PNG, JPEG"),
        (Audio("UklGRg==", "wav"), '"tiny" does not support audio'),
        (Opaque("openai", "video_url", Raw(b"{}")), "content of type 'video_url' cannot be sent"),
    ],
)
async def test_what_it_cannot_see_is_refused(part: Part, text: str, places: Places) -> None:
    place = await places.take(eyes=True)
    with pytest.raises(BadRequest, match=text):
        await place.fit(chat(Text("what is it?"), part))


async def test_a_model_without_eyes_gets_no_pictures(places: Places) -> None:
    place = await places.take()
    with pytest.raises(UnsupportedCapability, match='"tiny" does not support images'):
        await place.fit(chat(Image(data=png())))
    with pytest.raises(UnsupportedContent):
        await place.fit(chat(Opaque("openai", "file", Raw(b"{}"))))


# ---- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        chat(Text("hi"), num_ctx=512, num_thread=1, num_gpu=9, main_gpu=0, use_mmap=False, num_batch=8, odd=1),
        CompletionRequest(model="tiny", prompt="a", runner={"num_ctx": 512, "odd": 1}),
        EmbedRequest(model="tiny", inputs=("a",), runner={"num_gpu": 1, "odd": 1}),
    ],
)
async def test_options_that_were_heeded_are_not_dropped(request_: Request, places: Places) -> None:
    fitted = await (await places.take()).fit(request_)
    assert fitted.runner == {"odd": 1}


async def test_options_of_the_model_do_not_change_what_openais_clients_wrote(places: Places) -> None:
    request = replace(chat(Text("hi"), num_ctx=512), dialect="openai")
    assert await (await places.take()).fit(request) is request


async def test_eyes_make_another_process(places: Places) -> None:
    await places.take()
    await places.take(eyes=True)
    keys = {instance.key for instance in places.scheduler.instances}
    assert keys == {key_of(places.blind, embedding=False), key_of(places.seeing, embedding=False)}
    assert {instance.tuning for instance in places.scheduler.instances} == {Tuning(1, 512, True)}
