from __future__ import annotations

import base64
import json
import shlex
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namespaces.masking import MASK, MaskedStream, Masker

SECRET = 'p@ss "word"/1'


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        quote(SECRET, safe=""),
        json.dumps(SECRET),
        shlex.quote(SECRET),
        SECRET.encode().hex(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(b"a" + SECRET.encode() + b"zz").decode(),
        base64.b64encode(b"ab" + SECRET.encode() + b"z").decode(),
    ],
)
def test_every_spelling_of_a_secret_is_masked(spelling: str) -> None:
    masked = Masker([SECRET]).mask(f"x {spelling} y")
    assert MASK in masked
    assert SECRET[1:8] not in masked


def test_lines_of_a_secret_are_masked_one_by_one() -> None:
    key = "-----BEGIN-----\nabcdefgh\n-----END-----"
    assert Masker([key]).mask("> abcdefgh") == f"> {MASK}"


def test_short_secrets_are_left_alone() -> None:
    assert Masker(["abc"]).mask("abc") == "abc"


def test_values_are_masked_in_maps_and_lists() -> None:
    assert Masker(["secret"]).mask_value({"a": ["my secret", 1, None]}) == {"a": [f"my {MASK}", 1, None]}


def test_the_longer_of_two_secrets_wins() -> None:
    assert Masker(["abcd", "abcdefgh"]).mask("abcdefgh") == MASK


@given(st.lists(st.text(alphabet="abSECRET-", max_size=6), max_size=12), st.integers(0, 12))
def test_a_secret_cut_in_pieces_is_found_all_the_same(pieces: list[str], place: int) -> None:
    secret = "SECRET-1234"
    pieces = [*pieces[:place], secret[:4], secret[4:9], secret[9:], *pieces[place:]]
    stream = MaskedStream(Masker([secret]))
    assert secret not in "".join([*(stream.feed(piece) for piece in pieces), stream.end()])


def test_base64_of_a_whole_secret_leaves_no_character_of_it() -> None:
    encoded = base64.b64encode(b"s3cretvalue").decode()

    assert Masker(["s3cretvalue"]).mask(f"key {encoded} end") == f"key {MASK} end"
