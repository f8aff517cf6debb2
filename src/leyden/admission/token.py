"""JSON Web Tokens of users (RFC 7519): signed with a public key that is known, for us, and valid now.

Only signatures with a private key count (RFC 8725 section 3.1): no `none`, and no shared secret, so that a public key
can't be taken for one. A key is used with the algorithms of its own type alone.
"""

import json
from typing import Any

from leyden.admission.callers import TokenRules

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Those that can be asked for (RFC 7518 section 3.1, RFC 8037)."""

TOKEN_MAX_BYTES = 16 * 1024
LEEWAY_S = 60.0  # by which clocks may differ
USER_MAX_CHARS = 64
_TIME_MAX_S = 1e12  # some 30,000 years
_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}  # of keys, by how the algorithm begins
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


def user_of(rules: TokenRules, token: bytes, now_s: float) -> str:
    """The user (`sub`) of a token. `now_s`: since 1970. ValueError says what is wrong with it, and nothing of it."""
    import jwt  # lazily: it loads cryptography, and hardly any service asks for it

    if len(token) > TOKEN_MAX_BYTES:
        raise ValueError("the token is too long")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise ValueError("the token can't be read") from None
    algorithm = header.get("alg")
    if algorithm not in rules.algorithms or algorithm not in ALGORITHMS:
        raise ValueError("the token's algorithm is not allowed")
    for key in map(json.loads, rules.keys):
        if not _fits(key, algorithm, header.get("kid")):
            continue
        try:
            claims = jwt.decode(
                token,
                jwt.PyJWK(key, algorithm).key,
                [algorithm],
                issuer=rules.issuer,
                audience=rules.audience,
                options={
                    "require": ["exp", "sub", "iss", "aud"],
                    "verify_exp": False, "verify_nbf": False, "verify_iat": False,  # below: with our clock
                },
            )  # fmt: skip
        except jwt.InvalidSignatureError:
            continue
        except jwt.PyJWTError as error:
            raise ValueError(_words(error)) from None
        return _in_time(claims, now_s)
    raise ValueError("the token is not signed with a known key")


def _fits(key: dict[str, Any], algorithm: str, key_id: object) -> bool:
    return (
        key.get("kty") == _TYPES[algorithm[:2]]
        and key.get("alg", algorithm) == algorithm
        and (algorithm not in _CURVES or key.get("crv") == _CURVES[algorithm])
        and (key_id is None or "kid" not in key or key["kid"] == key_id)
    )


def _words(error: Exception) -> str:
    """What is wrong, by the name of the error: its text may hold what the token says."""
    said = {
        "InvalidIssuerError": "the token is from another issuer",
        "InvalidAudienceError": "the token is for another audience",
        "MissingRequiredClaimError": "the token lacks exp, sub, iss or aud",
    }
    return said.get(type(error).__name__, "the token can't be read")


def _in_time(claims: dict[str, Any], now_s: float) -> str:
    end_s, begin_s, user = claims["exp"], claims.get("nbf", 0), claims["sub"]
    if not (_is_time(end_s) and _is_time(begin_s)):
        raise ValueError("the token's times can't be read")
    if end_s + LEEWAY_S <= now_s:
        raise ValueError("the token has expired")
    if begin_s - LEEWAY_S > now_s:
        raise ValueError("the token is not valid yet")
    if not isinstance(user, str) or not 0 < len(user) <= USER_MAX_CHARS or not user.isprintable():
        raise ValueError(f"the token's user has no name of 1 to {USER_MAX_CHARS} printable characters")
    return user


def _is_time(value: object) -> bool:
    """JSON as Python reads it knows NaN, which is never over, and numbers that no float holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _TIME_MAX_S
