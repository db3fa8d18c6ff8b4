"""Relay: between two sides of one dialect the bytes are the client's own; only the model's name may change."""

import json

import pytest

from arriero.wire.splice import NotAnObject, peek, splice_model
from support.recordings import Recording, recordings

BODIES = [found for found in recordings() if found.request.body[:1] == b"{"]


@pytest.mark.parametrize("recording", BODIES, ids=str)
def test_a_relayed_body_is_the_clients_own(recording: Recording) -> None:
    body = recording.request.body
    try:
        model, _ = peek(body)
    except NotAnObject:
        assert recording.response.status == 400, "the backend refuses it as well"
        return
    assert splice_model(body, model or "", model or "") is body


@pytest.mark.parametrize("recording", BODIES, ids=str)
def test_another_name_moves_nothing_else(recording: Recording) -> None:
    body = recording.request.body
    try:
        model, _ = peek(body)
    except NotAnObject:
        return
    if model is None:
        return
    renamed = splice_model(body, model, "another/model:latest")
    old, new = json.dumps(model).encode(), b'"another/model:latest"'
    assert renamed == body.replace(old, new, 1)
    assert splice_model(renamed, "another/model:latest", model) == body
