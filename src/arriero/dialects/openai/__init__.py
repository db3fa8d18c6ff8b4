"""The OpenAI dialect: `/v1/chat/completions`, `/v1/completions` and `/v1/embeddings`, for clients and towards backends.

`/v1/models` is a listing, not an exchange with a model: `catalog` renders and reads it.
"""

from collections.abc import Callable

from arriero.canonical.catalog import ModelCard
from arriero.canonical.requests import ChatRequest, CompletionRequest, EmbedRequest, Request
from arriero.dialects.backend_errors import read_error
from arriero.dialects.base import AnswerContext, Dialect, Driver, Encoder, Endpoint, Operation, WholeAnswer
from arriero.dialects.openai import answers, driver, errors, render, requests, stream


def _endpoint(
    operation: Operation,
    path: str,
    decode: Callable[[bytes], Request],
    encode: Callable[[WholeAnswer, AnswerContext, int], bytes],
    encoder: Callable[[AnswerContext], Encoder] | None,
    check: Callable[[Request, ModelCard], None],
) -> Endpoint:
    return Endpoint(
        operation=operation,
        path="/v1" + path,
        relay_path=path,
        decode=decode,
        encode=encode,
        encoder=encoder,
        check=check,
        stream_default=False,
        whole_type=b"application/json",
        stream_type=b"text/event-stream",
    )


DIALECT = Dialect(
    name="openai",
    endpoints=(
        _endpoint(
            Operation.CHAT,
            "/chat/completions",
            requests.decode_chat,
            render.encode_chat,
            render.ChatEncoder,
            requests.check_chat,
        ),
        _endpoint(
            Operation.COMPLETION,
            "/completions",
            requests.decode_completion,
            render.encode_completion,
            render.CompletionEncoder,
            requests.check_completion,
        ),
        _endpoint(
            Operation.EMBEDDINGS,
            "/embeddings",
            requests.decode_embed,
            render.encode_embeddings,
            None,
            requests.check_embed,
        ),
    ),
    drivers={
        ChatRequest: Driver(driver.encode_chat, answers.decode_answer, stream.StreamDecoder),
        CompletionRequest: Driver(driver.encode_completion, answers.decode_answer, stream.StreamDecoder),
        EmbedRequest: Driver(driver.encode_embed, answers.decode_embeddings, None),
    },
    write_error=errors.write_error,
    write_stream_error=errors.write_stream_error,
    read_error=read_error,
)
"""The dialect as the gateway takes it."""

__all__ = ["DIALECT"]
