"""The two keys of an installation: one that personal data is encrypted with, one that makes keyed hashes.

Each may be several, separated by commas: the first is used for what is made now, all of them for what was made before.
"""

import base64
import binascii
import hashlib
import hmac

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class UnusableKey(Exception):
    """A key is missing or cannot be used; the text says which setting and what it should be."""


class Unreadable(Exception):
    """Something was encrypted with none of the present keys, or was changed since."""


class Keys:
    """Encryption and keyed hashes with the keys of the settings `data_key` and `hash_key`."""

    def __init__(self, data_key: str, hash_key: str) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in _parts("DATA_KEY", data_key)])
        self._hash_keys = tuple(base64.urlsafe_b64decode(key) for key in _parts("HASH_KEY", hash_key))

    def encrypt(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode("ascii")

    def decrypt(self, stored: str) -> str:
        try:
            return self._fernet.decrypt(stored.encode()).decode()
        except InvalidToken:
            raise Unreadable("DATA_KEY does not fit what is stored: add the key it was encrypted with") from None

    def encrypt_again(self, stored: str) -> str:
        """The same under the first key."""
        try:
            return self._fernet.rotate(stored.encode()).decode("ascii")
        except InvalidToken:
            raise Unreadable("DATA_KEY does not fit what is stored: add the key it was encrypted with") from None

    def hash(self, purpose: str, *values: str) -> str:
        """A keyed hash, 64 hexadecimal digits. The purpose keeps hashes of different uses apart."""
        return _keyed_hash(self._hash_keys[0], purpose, values)

    def hashes(self, purpose: str, *values: str) -> tuple[str, ...]:
        """The same under every key, the first key's first: what a search or a check must accept."""
        return tuple(_keyed_hash(key, purpose, values) for key in self._hash_keys)

    def matches(self, stored: str, purpose: str, *values: str) -> bool:
        """Whether `stored` is the keyed hash of these values, in constant time."""
        found = [hmac.compare_digest(stored.encode(), made.encode()) for made in self.hashes(purpose, *values)]
        return any(found)


def _keyed_hash(key: bytes, purpose: str, values: tuple[str, ...]) -> str:
    # Lengths keep ("ab", "c") and ("a", "bc") apart.
    parts = [value.encode() for value in (purpose, *values)]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def _parts(setting: str, keys: str) -> list[bytes]:
    found = []
    for part in filter(None, (part.strip() for part in keys.split(","))):
        padded = part.rstrip("=") + "=" * (-len(part.rstrip("=")) % 4)
        try:
            fits = len(base64.b64decode(padded, altchars=b"-_", validate=True)) == 32
        except (binascii.Error, ValueError):
            fits = False
        if not fits:
            raise UnusableKey(f"{setting} must hold keys of 32 random bytes in URL-safe base64, separated by commas")
        found.append(padded.encode())
    if not found:
        raise UnusableKey(f"{setting} is not set: `python -m personvern.settings` makes one in var/tokens.env")
    return found
