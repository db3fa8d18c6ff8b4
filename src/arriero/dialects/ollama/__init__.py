"""The Ollama API as a dialect: `DIALECT` is its record; listings (`catalog`) and names (`names`) are modules of their
own.

A request that only loads or unloads a model (`is_load`) is answered by `Endpoint.encode`, also where it asked for a
stream: the real server answers it with one JSON object.
"""

from functools import partial

from arriero.dialects.backend_errors import read_error
from arriero.dialects.base import Dialect, Endpoint, Operation
from arriero.dialects.ollama.answers import encode_chat, encode_embed, encode_embeddings, encode_generate
from arriero.dialects.ollama.checks import check_chat, check_embed, check_generate
from arriero.dialects.ollama.driver import CHAT_PATH, DRIVERS, EMBED_PATH, GENERATE_PATH
from arriero.dialects.ollama.errors import STREAM_TYPE, WHOLE_TYPE, model_not_found, write_error, write_stream_error
from arriero.dialects.ollama.memory import MARK
from arriero.dialects.ollama.requests import (
    DIALECT_NAME,
    decode_chat,
    decode_embed,
    decode_embeddings,
    decode_generate,
    is_load,
)
from arriero.dialects.ollama.stream import chat_encoder, generate_encoder
from arriero.dialects.ollama.templated import rendering

EMBEDDINGS_PATH = "/api/embeddings"

DIALECT = Dialect(
    name=DIALECT_NAME,
    endpoints=(
        Endpoint(
            operation=Operation.CHAT,
            not_found=partial(model_not_found, operation=Operation.CHAT),
            path=CHAT_PATH,
            relay_path=CHAT_PATH,
            decode=decode_chat,
            encode=encode_chat,
            encoder=chat_encoder,
            check=check_chat,
            stream_default=True,
            whole_type=WHOLE_TYPE,
            stream_type=STREAM_TYPE,
        ),
        Endpoint(
            operation=Operation.GENERATE,
            not_found=partial(model_not_found, operation=Operation.GENERATE),
            path=GENERATE_PATH,
            relay_path=GENERATE_PATH,
            decode=decode_generate,
            encode=encode_generate,
            encoder=generate_encoder,
            check=check_generate,
            stream_default=True,
            whole_type=WHOLE_TYPE,
            stream_type=STREAM_TYPE,
            own_mark=b"%d" % MARK,
            render=rendering,
        ),
        Endpoint(
            operation=Operation.EMBED,
            not_found=partial(model_not_found, operation=Operation.EMBED),
            path=EMBED_PATH,
            relay_path=EMBED_PATH,
            decode=decode_embed,
            encode=encode_embed,
            encoder=None,
            check=check_embed,
            stream_default=False,
            whole_type=WHOLE_TYPE,
        ),
        Endpoint(
            operation=Operation.EMBEDDINGS,
            not_found=partial(model_not_found, operation=Operation.EMBEDDINGS),
            path=EMBEDDINGS_PATH,
            relay_path=EMBEDDINGS_PATH,
            decode=decode_embeddings,
            encode=encode_embeddings,
            encoder=None,
            check=check_embed,
            stream_default=False,
            whole_type=WHOLE_TYPE,
        ),
    ),
    drivers=DRIVERS,
    write_error=write_error,
    write_stream_error=write_stream_error,
    read_error=read_error,
    folds_case=True,
    shortens=True,
)

__all__ = ["DIALECT", "is_load", "model_not_found"]
