"""Private keys in files (OpenSSH's format, PEM, PKCS#8): their public half, and signatures with them."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

from infra.remote.known_hosts import key_blob

_MAGIC = b"openssh-key-v1\0"
_BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"


class NotAKey(Exception):
    """A file has no private key that can be used. Says why; ``hint`` says what to do."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


class Encrypted(Exception):
    """A private key needs a passphrase, or another one."""


def load(data: bytes, passphrase: bytes | None) -> Any:
    """The private key in ``data``. Raises Encrypted and NotAKey."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    _refuse_others(data)
    header = _header(data)
    if header is not None and header[1][4:7] == b"sk-":
        raise NotAKey("a security key, which only the agent can use; load it: ssh-add")
    encrypted = header[0] if header else b"ENCRYPTED" in data
    try:
        if encrypted and passphrase is None:
            raise Encrypted
        secret = passphrase if encrypted else None
        key = load_ssh_private_key(data, secret) if header else load_pem_private_key(data, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted and passphrase is not None and not isinstance(error, UnsupportedAlgorithm):
            raise Encrypted from None
        if isinstance(error, UnsupportedAlgorithm):
            raise NotAKey(f"not a private key that can be used: {str(error)[:120]}", _FORMAT) from None
        raise NotAKey("a private key that is damaged, or a part of it is missing", "copy it again, whole") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise NotAKey("a key of a type that is not supported")
    return key


_FORMAT = "a private key begins with -----BEGIN OPENSSH PRIVATE KEY----- or with that of PEM"
_PUTTYGEN = "convert it: puttygen KEY -O private-openssh -o NEW, and name the new file"


def _refuse_others(data: bytes) -> None:
    """Raise NotAKey for what people give in place of a private key."""
    text = data.strip()
    if not text:
        raise NotAKey("the file is empty", "copy the private key into it, or name another file")
    if text.startswith(b"PuTTY-User-Key-File"):
        raise NotAKey("a key in the format of PuTTY", _PUTTYGEN)
    if b"BEGIN SSH2 PUBLIC KEY" in data or (b"PUBLIC KEY-----" in data and b"PRIVATE KEY-----" not in data):
        raise NotAKey("a public key", _FORMAT)
    if b"BEGIN CERTIFICATE" in data and b"PRIVATE KEY-----" not in data:
        raise NotAKey("a certificate", _FORMAT)
    if b"-----BEGIN" not in data:
        raise NotAKey("not a private key", _FORMAT)


def _header(data: bytes) -> tuple[bool, bytes] | None:
    """Of a key in OpenSSH's format: whether it is encrypted, and its public half, which never is."""
    if _BEGIN not in data:
        return None
    try:
        body = base64.b64decode(data.partition(_BEGIN)[2].partition(b"-----END")[0])
        rest = body.removeprefix(_MAGIC)
        cipher, rest = _string(rest)
        _, rest = _string(rest)
        _, rest = _string(rest)
        public, _ = _string(rest[4:])
    except (binascii.Error, ValueError):
        return None
    return cipher != b"none", public


def _string(data: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 + length:
        raise ValueError("too short")
    return data[4 : 4 + length], data[4 + length :]


def public_half(file: Path, data: bytes | None) -> bytes | None:
    """The public key that ``file`` has, or the one beside it, as OpenSSH looks for it. None if there is only a private
    key, which would have to be opened for it."""
    for text in (data, _beside(file)):
        words = text.decode("latin-1").split(maxsplit=2) if text else []
        if len(words) >= 2 and (blob := key_blob(words[0], words[1])):
            return blob
    header = _header(data) if data else None
    return header[1] if header else None


def _beside(file: Path) -> bytes | None:
    try:
        return file.with_name(file.name + ".pub").read_bytes()[: 1 << 20]
    except (OSError, ValueError):
        return None


def sign(key: Any, data: bytes, algorithm: str) -> bytes:
    """An SSH signature of ``data``, whose algorithm is that of a plain key."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if isinstance(key, rsa.RSAPrivateKey):
        made = key.sign(data, padding.PKCS1v15(), hashes.SHA512() if algorithm == "rsa-sha2-512" else hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        size = key.curve.key_size
        digest = hashes.SHA256() if size <= 256 else hashes.SHA384() if size <= 384 else hashes.SHA512()
        made = b"".join(_number(part) for part in decode_dss_signature(key.sign(data, ec.ECDSA(digest))))
    else:
        made = key.sign(data)
    return _packed(algorithm.encode()) + _packed(made)


def _number(value: int) -> bytes:
    return _packed(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _packed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
