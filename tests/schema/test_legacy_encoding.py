"""Texts of 0.1.x are decoded; those here were written by 0.1.3."""

import pytest

from django_simpletask3.schema import legacy_encoding

KEY = "audit-secret-key-0123456789abcdefghijklmnop"
OK = "010a4b52767a7ab0083f70f772f8cae8"
PAID = "4a573a389775bb4125976ea3a8f5e2cfead5d9a22eabcbe0240d0e5d334cd055"
FAILED = (
    "f1bc9048570b10e8232972a740553fec19cda68d68df2814f96c1fbd290751bd"
    "8edbcde944bd0fd3182e3b520eace40a"
)
WRITTEN = [
    (OK, "OK"),
    (PAID, {"paid": 1, "to": "张"}),
    (FAILED, {"code": 226, "message": "金额 negative"}),
]


@pytest.mark.parametrize(("text", "value"), WRITTEN)
def test_a_text_of_0_1_is_decoded_and_encoded(text: str, value: object) -> None:
    assert legacy_encoding.decode(text, [KEY]) == value
    assert legacy_encoding.encode(value, KEY) == text


def test_each_key_is_tried() -> None:
    assert legacy_encoding.decode(OK, ["another key", KEY.encode()]) == "OK"


@pytest.mark.parametrize("key", ["another key", "short", KEY[:-1], "钥匙"])
def test_a_text_that_no_key_decrypts_is_unreadable(key: str) -> None:
    with pytest.raises(legacy_encoding.Unreadable):
        legacy_encoding.decode(PAID, [key])


def test_a_wrong_key_with_valid_padding_is_rejected() -> None:
    # One wrong key in 256 yields bytes with valid padding.
    for number in range(1500):
        with pytest.raises(legacy_encoding.Unreadable):
            legacy_encoding.decode(OK, [f"wrong key {number}"])


def test_a_text_encrypted_twice_is_decoded() -> None:
    written_again = legacy_encoding.encode_text(OK, "new key")

    assert legacy_encoding.decode(written_again, ["new key", KEY]) == "OK"


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"a": 1}', {"a": 1}), ("by hand", "by hand"), ("", ""), ("abc", "abc"), ("17", 17)],
)
def test_a_text_that_was_never_encrypted_is_parsed(text: str, value: object) -> None:
    assert legacy_encoding.decode(text, [KEY]) == value
