"""The public keys that sign JSON Web Tokens, read from PEM files and JSON Web Key Sets (RFC 7517), as one JWK each.

Only what a public key needs is kept. A private key or a shared secret is an error: it belongs to whoever makes tokens.
"""

import json
from pathlib import Path
from typing import Any

SIZE_LIMIT_BYTES = 256 * 1024
KEYS_MAX = 100
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_SECRET = ("d", "p", "q", "k")


def public_keys(path: Path) -> tuple[str, ...]:
    """The keys of a file, as JWK. OSError; ValueError says what is wrong with it."""
    with path.open("rb") as file:
        content = file.read(SIZE_LIMIT_BYTES + 1)
    if len(content) > SIZE_LIMIT_BYTES:
        raise ValueError(f"holds more than {SIZE_LIMIT_BYTES} bytes")
    if content.lstrip().startswith(b"{"):
        return _of_set(content)
    return (json.dumps(_of_pem(content), sort_keys=True),)


def _of_set(content: bytes) -> tuple[str, ...]:
    import jwt

    try:
        found = json.loads(content)
    except ValueError:
        raise ValueError("is no JSON") from None
    given = found.get("keys", [found])
    if not isinstance(given, list) or not 0 < len(given) <= KEYS_MAX or not all(isinstance(key, dict) for key in given):
        raise ValueError(f"is no JSON Web Key Set of 1 to {KEYS_MAX} keys")
    signing = [_public(key) for key in given if key.get("use", "sig") == "sig"]
    if not signing:
        raise ValueError("holds no key that signs")
    for key in signing:
        try:
            jwt.PyJWK(key, key.get("alg"))
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise ValueError(f"holds a key that can't be used: {error}") from None
    return tuple(json.dumps(key, sort_keys=True) for key in signing)


def _of_pem(content: bytes) -> dict[str, Any]:
    import jwt
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if b"PRIVATE KEY" in content:
        raise ValueError("holds a private key; the public one is needed, and the private one should not be here")
    key: object
    try:
        if b"BEGIN CERTIFICATE" in content:
            key = x509.load_pem_x509_certificate(content).public_key()
        else:
            key = serialization.load_pem_public_key(content)
    except ValueError:
        raise ValueError("is neither a public key or certificate in PEM nor a JSON Web Key Set") from None
    if isinstance(key, rsa.RSAPublicKey):
        return _public(jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True))
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _public(jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True))
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return _public(jwt.algorithms.OKPAlgorithm.to_jwk(key, as_dict=True))
    raise ValueError("holds a key of a kind that signs no tokens")


def _public(key: dict[str, Any]) -> dict[str, Any]:
    """What is needed of a key."""
    members = _PUBLIC.get(str(key.get("kty")))
    if members is None or any(name in key for name in _SECRET):
        raise ValueError("holds a shared secret or a private key; public ones are needed")
    return {name: key[name] for name in ("kty", "kid", "alg", *members) if name in key}
