from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from teahouse.accounts.refresh_tokens import RefreshToken
from teahouse.accounts.sealing_aesgcm import seal, unseal

SESSION = "0123456789abcdef" * 2


def test_a_token_reads_back_as_it_was_written():
    token = RefreshToken.first(SESSION)
    assert RefreshToken.read(token.text) == token
    assert len(token.secret) == 32


@given(st.text(max_size=100))
def test_anything_else_is_no_token(text):
    assert RefreshToken.read(text) is None


@pytest.mark.parametrize(
    "twist", [lambda t: t + "=", lambda t: t[:-1], lambda t: "+" + t[1:], lambda t: "é" + t[1:], lambda t: "!" + t[1:]]
)
def test_a_token_has_one_spelling(twist):
    assert RefreshToken.read(twist(RefreshToken.first(SESSION).text)) is None


def test_spare_bits_at_the_end_are_not_another_spelling():
    token = RefreshToken(SESSION, b"\0" * 16, b"\0" * 32)
    assert token.text.endswith("A")
    assert RefreshToken.read(token.text[:-1] + "B") is None


def test_a_successor_shares_the_family_and_nothing_else():
    token = RefreshToken.first(SESSION)
    successor = token.successor()
    assert successor.hashes.family_hash == token.hashes.family_hash
    assert successor.hashes.token_hash != token.hashes.token_hash
    assert successor.secret != token.secret


def test_the_old_token_opens_what_was_sealed_under_it():
    token = RefreshToken.first(SESSION)
    successor = token.successor()
    assert unseal(seal(successor, under=token), under=token) == successor


def test_no_other_token_opens_it_and_no_other_session():
    token = RefreshToken.first(SESSION)
    sealed = seal(token.successor(), under=token)
    with pytest.raises(InvalidTag):
        unseal(sealed, under=token.successor())
    with pytest.raises(InvalidTag):
        unseal(sealed, under=token._replace(session_id="f" * 32))
    with pytest.raises(InvalidTag):
        unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), under=token)


def test_a_token_shows_nothing_of_itself_in_a_log():
    token = RefreshToken.first(SESSION)
    for part in (token.text, repr(token.secret), repr(token.family)):
        assert part not in repr(token)


def test_what_is_stored_holds_nothing_of_the_token():
    token = RefreshToken.first(SESSION)
    successor = token.successor()
    stored = seal(successor, under=token) + "".join(token.hashes).encode() + "".join(successor.hashes).encode()
    assert successor.secret not in stored
    assert successor.secret.hex().encode() not in stored
