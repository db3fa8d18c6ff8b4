from arriero.backends.http.call import Head


def test_the_first_field_of_a_name_is_found() -> None:
    head = Head(200, ((b"via", b"a"), (b"x", b"1"), (b"via", b"b")))
    assert [head.get(b"via"), head.get(b"x"), head.get(b"y")] == [b"a", b"1", None]
