"""JSON Web Tokens: odd JSON that is signed, so that it is read; some are damaged afterwards."""

import base64
import json
import math
import random
import re
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fuzz.damage import bent
from leyden.admission.callers import TokenRules
from leyden.admission.token import ALGORITHMS, USER_MAX_CHARS, user_of

NOW_S = 1_800_000_000.0
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_HEADER: dict[str, Any] = {"alg": "EdDSA", "typ": "JWT"}
_CLAIMS: dict[str, Any] = {
    "sub": "nurse.joy", "iss": "https://login", "aud": ["leyden", "other"], "exp": 1800000600, "nbf": 1799999999.5,
}  # fmt: skip
_KEYS = ("alg", "typ", "kid", "crit", "b64", "zip", "jwk", "x5c", "sub", "iss", "aud", "exp", "nbf", "iat", "jti", "")
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 10**12, 10**400, math.nan, math.inf, 1800000600, "1800000600"),
    *("", "x" * 65, "dr.who\n", "\ud800", "none", "HS256", "RS256", "ES256", "EdDSA", "leyden", "https://login"),
    *([], {}, [[]], ["leyden"], {"leyden": 1}, ["b64"], {"kty": "oct", "k": "AA"}),
)
_WORDS_OF_OURS = re.compile(r"the token('s)? [a-z0-9 ,']+")


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@cache
def _rules() -> TokenRules:
    x = _encoded(_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    return TokenRules((f'{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}',), "https://login", "leyden", ALGORITHMS)


def _odd(chance: random.Random, fields: dict[str, Any]) -> bytes:
    """JSON with a few changes: another value, a key more, fewer or twice."""
    odd = dict(fields)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        key = chance.choice((*odd, *_KEYS))
        if chance.random() < 0.3:
            odd.pop(key, None)
        else:
            odd[key] = chance.choice(_VALUES)
    text = json.dumps(odd)
    if chance.random() < 0.1:
        text = f"{text[:-1]}, {json.dumps(chance.choice(_KEYS))}: {json.dumps(chance.choice(_VALUES))}}}"
    if chance.random() < 0.02:
        depth = chance.randrange(6000)
        text = f'{text[:-1]}, "deep": {"[" * depth}{"]" * depth}}}'
    data = text.encode("utf-8", "replace")
    return bent(chance, data) if chance.random() < 0.1 else data


def token(chance: random.Random) -> bytes:
    header = _odd(chance, _HEADER) if chance.random() < 0.4 else json.dumps(_HEADER).encode()
    signed = _encoded(header) + b"." + _encoded(_odd(chance, _CLAIMS))
    whole = signed + b"." + _encoded(_KEY.sign(signed))
    return bent(chance, whole) if chance.random() < 0.1 else whole


def users(data: bytes) -> str:
    """A name of some printable characters, or a reason in words of ours."""
    try:
        user = user_of(_rules(), data, NOW_S)
    except ValueError as error:
        why = str(error)
    else:
        assert 0 < len(user) <= USER_MAX_CHARS
        assert user.isprintable()
        return "read"
    assert _WORDS_OF_OURS.fullmatch(why), why
    return f"refused: {why}"
