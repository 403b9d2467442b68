import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot as redis_key_slot

from checkers.keyslot import hash_tag, key_slot


def test_the_specifications_own_example() -> None:
    assert key_slot("123456789") == 0x31C3


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        (b"{user1000}.following", b"user1000"),
        (b"foo{}{bar}", b"foo{}{bar}"),  # an empty tag is none, and a later one does not count
        (b"foo{{bar}}zap", b"{bar"),
        (b"foo{bar}{zap}", b"bar"),
        (b"}foo{bar", b"}foo{bar"),
        (b"", b""),
    ],
)
def test_hash_tags(key: bytes, tag: bytes) -> None:
    assert hash_tag(key) == tag


@given(st.text(alphabet="{}ab\u00e9", max_size=8))
def test_text_is_hashed_as_utf_8(key: str) -> None:
    assert key_slot(key) == key_slot(key.encode()) == redis_key_slot(key.encode())


@given(st.binary(max_size=20))
def test_binary_keys_have_the_slot_that_redis_py_gives_them(key: bytes) -> None:
    assert key_slot(key) == redis_key_slot(key)
