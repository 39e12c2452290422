"""The text columns of 0.1.x: JSON, encrypted with the SECRET_KEY (AES-128-ECB)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.encoding import force_bytes

_BLOCK_SIZE = 16
#: After a change of SECRET_KEY, 0.1.x encrypted again the texts that it could not read.
_MAX_LAYERS = 4
_ENCRYPTED = re.compile(rf"(?:[0-9a-f]{{{2 * _BLOCK_SIZE}}})+")
_NO_CIPHER = (
    "Results of 0.1.x are encrypted: run pip install 'django-simpletask3[upgrade]' to read them."
)


class Unreadable(ValueError):
    """A text is encrypted, and no key decrypts it."""


def decode(text: str, keys: Sequence[str | bytes]) -> Any:
    """Return the value of a column of 0.1.x; raises Unreadable if none of ``keys`` decrypts it.

    A text that was never encrypted is parsed as JSON; if that fails, it is the value itself.
    """
    for _ in range(_MAX_LAYERS):
        if not _ENCRYPTED.fullmatch(text):
            break
        text = _decrypt(text, keys)
    try:
        return json.loads(text)
    except ValueError:
        return text


def encode(value: object, key: str | bytes) -> str:
    """Encode ``value`` as 0.1.x does, encrypted with the SECRET_KEY ``key``."""
    return encode_text(json.dumps(value, ensure_ascii=False), key)


def encode_text(text: str, key: str | bytes) -> str:
    """Encrypt ``text`` as a column of 0.1.x stores it."""
    data = text.encode()
    padding = _BLOCK_SIZE - len(data) % _BLOCK_SIZE
    encryptor = _cipher(key).encryptor()
    return str((encryptor.update(data + bytes([padding]) * padding) + encryptor.finalize()).hex())


def _decrypt(text: str, keys: Sequence[str | bytes]) -> str:
    for key in keys:
        decryptor = _cipher(key).decryptor()
        data = decryptor.update(bytes.fromhex(text)) + decryptor.finalize()
        if not 1 <= data[-1] <= _BLOCK_SIZE or data[-data[-1] :] != data[-1:] * data[-1]:
            continue
        try:
            return str(data[: -data[-1]].decode())
        except UnicodeDecodeError:
            continue
    raise Unreadable(text)


def _cipher(key: str | bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError:
        raise ImproperlyConfigured(_NO_CIPHER) from None
    aes_key = bytearray(_BLOCK_SIZE)
    for index, byte in enumerate(force_bytes(key)):
        aes_key[index % _BLOCK_SIZE] ^= byte
    return Cipher(algorithms.AES(bytes(aes_key)), modes.ECB())  # noqa: S305 - as in 0.1.x
