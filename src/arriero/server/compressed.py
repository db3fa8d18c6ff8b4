"""Request bodies that came compressed: zstd, as some coding agents send it."""

import msgspec
import zstandard

from arriero.errors import BadRequest, PayloadTooLarge
from arriero.gateway.lane import Inbound


def decompressed(inbound: Inbound, limit_bytes: int) -> Inbound:
    """The request with its body as text. Raises `PayloadTooLarge` past the limit, `BadRequest` for other encodings."""
    encoding = (inbound.get(b"content-encoding") or b"identity").strip().lower()
    if encoding == b"identity" or not inbound.body:
        return inbound
    if encoding != b"zstd":
        raise BadRequest(
            f"Content-Encoding {encoding.decode('latin-1')} is not understood: send the body plain, or as zstd"
        )
    pieces: list[bytes] = []
    size = 0
    try:
        with zstandard.ZstdDecompressor().stream_reader(inbound.body, read_across_frames=True) as reader:
            while piece := reader.read(1024 * 1024):
                size += len(piece)
                if size > limit_bytes:
                    raise PayloadTooLarge(
                        f"the request body is larger than {limit_bytes} bytes (limits.max_body_bytes)"
                    )
                pieces.append(piece)
    except zstandard.ZstdError as error:
        raise BadRequest(f"the body is not zstd, as its Content-Encoding says: {error}") from None
    return msgspec.structs.replace(inbound, body=b"".join(pieces))
