"""Ed25519 signatures of a bundle's manifest, which holds the digest of everything else."""

import base64
import os
from pathlib import Path

from mlflow_model.errors import LoadingFailed

PUBLIC_KEY = "MODEL_PUBLIC_KEY"


class BadKey(ValueError):
    """The file is no Ed25519 key in PEM form, or cannot be read."""


def sign(manifest: bytes, private_key: Path) -> str:
    """The signature in base64. Raises BadKey."""
    # Imported where keys are used: a service without signatures does not pay for it.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKey(f"{private_key.name} is no readable private key in PEM form without password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKey(f"{private_key.name} is no Ed25519 key: openssl genpkey -algorithm ed25519 makes one")
    return base64.b64encode(key.sign(manifest)).decode()


def check(manifest: bytes, signature: str | None) -> None:
    """Where MODEL_PUBLIC_KEY names a file, the signature must be that key's. Raises LoadingFailed."""
    if not (name := os.environ.get(PUBLIC_KEY)):
        return
    if signature is None:
        raise LoadingFailed(
            "la version n’est pas signée ; signez-la avec « python register.py --sign CLE.pem »"
        )
    from cryptography.exceptions import InvalidSignature

    try:
        _public_key(Path(name)).verify(base64.b64decode(signature, validate=True), manifest)
    except (InvalidSignature, ValueError) as error:  # not its own, or no base64
        raise LoadingFailed(f"la signature n’est pas celle de la clé {PUBLIC_KEY}") from error


def require_key() -> None:
    """Where MODEL_PUBLIC_KEY names a file, it must be a key. Raises BadKey."""
    if name := os.environ.get(PUBLIC_KEY):
        try:
            _public_key(Path(name))
        except LoadingFailed as error:
            raise BadKey(f"{PUBLIC_KEY} names no readable public Ed25519 key in PEM form: {name}") from error


def require_key_in(content: bytes) -> None:
    """It must be a key, as a file that MODEL_PUBLIC_KEY may name holds one. Raises BadKey."""
    try:
        _public_key_in(content)
    except LoadingFailed as error:
        raise BadKey(f"{PUBLIC_KEY} names no readable public Ed25519 key in PEM form") from error


def _public_key(file: Path):  # type: ignore[no-untyped-def]
    try:
        return _public_key_in(file.read_bytes())
    except OSError as error:
        raise LoadingFailed(f"la clé {PUBLIC_KEY} est illisible") from error


def _public_key_in(content: bytes):  # type: ignore[no-untyped-def]
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise LoadingFailed(f"la clé {PUBLIC_KEY} est illisible") from error
    if not isinstance(key, Ed25519PublicKey):
        raise LoadingFailed(f"la clé {PUBLIC_KEY} n’est pas une clé publique Ed25519")
    return key
