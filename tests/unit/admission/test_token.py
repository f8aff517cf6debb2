"""JSON Web Tokens: what is let in, and every way in which one is wrong."""

import base64
import json
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from leyden.admission.callers import TokenRules
from leyden.admission.token import ALGORITHMS, LEEWAY_S, user_of

NOW_S = 1_900_000_000.0
CLAIMS = {"iss": "https://login", "aud": "leyden", "sub": "dr.who", "exp": NOW_S + 300}


@cache
def key(kind: str) -> Any:
    match kind:
        case "rsa" | "rsa2":
            return rsa.generate_private_key(65537, 2048)
        case "ed":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return ec.generate_private_key({"256": ec.SECP256R1, "384": ec.SECP384R1, "521": ec.SECP521R1}[kind]())


def public(kind: str, **more: str) -> str:
    algorithm = {
        "rsa": jwt.algorithms.RSAAlgorithm,
        "rsa2": jwt.algorithms.RSAAlgorithm,
        "ed": jwt.algorithms.OKPAlgorithm,
    }
    found = algorithm.get(kind, jwt.algorithms.ECAlgorithm).to_jwk(key(kind).public_key(), as_dict=True)
    return json.dumps({**{name: value for name, value in found.items() if name != "key_ops"}, **more})


def rules(*keys: str, algorithms: tuple[str, ...] = ALGORITHMS) -> TokenRules:
    return TokenRules(keys or (public("rsa"),), "https://login", "leyden", algorithms)


def token(kind: str = "rsa", algorithm: str = "RS256", header: dict[str, Any] | None = None, **claims: Any) -> bytes:
    said = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(said, key(kind), algorithm, headers=header).encode()


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        *(("rsa", name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("256", "ES256"),
        ("384", "ES384"),
        ("521", "ES512"),
        ("ed", "EdDSA"),
    ],
)
def test_each_kind_of_signature_is_checked(kind: str, algorithm: str) -> None:
    every = rules(public("rsa2"), public("256"), public("384"), public("521"), public("ed"), public("rsa"))
    assert user_of(every, token(kind, algorithm), NOW_S) == "dr.who"
    others = rules(*(name for name in every.keys if name != public(kind)))
    with pytest.raises(ValueError, match="not signed with a known key"):
        user_of(others, token(kind, algorithm), NOW_S)
    with pytest.raises(ValueError, match="algorithm is not allowed"):
        user_of(rules(public(kind), algorithms=("none",)), token(kind, algorithm), NOW_S)


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://other"}, "from another issuer"),
        ({"aud": "other"}, "for another audience"),
        ({"aud": ["a", "leyden"]}, ""),
        ({"exp": NOW_S - LEEWAY_S}, "has expired"),
        ({"exp": NOW_S - LEEWAY_S + 1}, ""),
        ({"nbf": NOW_S + LEEWAY_S + 1}, "not valid yet"),
        ({"nbf": NOW_S + LEEWAY_S - 1}, ""),
        ({"exp": None}, "lacks exp, sub, iss or aud"),
        ({"sub": None}, "lacks exp, sub, iss or aud"),
        ({"iss": None}, "lacks exp, sub, iss or aud"),
        ({"aud": None}, "lacks exp, sub, iss or aud"),
        ({"exp": True}, "times can't be read"),
        ({"nbf": "soon"}, "times can't be read"),
        ({"exp": float("nan")}, "times can't be read"),
        ({"exp": float("inf")}, "times can't be read"),
        ({"exp": 10**400}, "times can't be read"),
        ({"nbf": -(10**400)}, "times can't be read"),
        ({"sub": ""}, "has no name"),
        ({"sub": "a\nb"}, "has no name"),
        ({"sub": "x" * 65}, "has no name"),
    ],
)
def test_what_a_token_says_counts(claims: dict[str, Any], why: str) -> None:
    if not why:
        assert user_of(rules(), token(**claims), NOW_S) == "dr.who"
        return
    with pytest.raises(ValueError, match=why):
        user_of(rules(), token(**claims), NOW_S)


def test_an_unsigned_token_is_worth_nothing() -> None:
    with pytest.raises(ValueError, match="algorithm is not allowed"):
        user_of(rules(), jwt.encode(CLAIMS, None, "none").encode(), NOW_S)


def test_a_public_key_is_never_a_shared_secret() -> None:
    """RFC 8725 section 2.1: a token signed by HMAC with the text of the public key as its secret."""
    pem = (
        key("rsa")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    for secret in (pem, public("rsa").encode()):
        forged = _hmac_token(secret)
        for allowed in (ALGORITHMS, (*ALGORITHMS, "HS256")):
            with pytest.raises(ValueError, match="algorithm is not allowed"):
                user_of(rules(algorithms=allowed), forged, NOW_S)


def _hmac_token(secret: bytes) -> bytes:
    import hashlib
    import hmac

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(CLAIMS).encode())
    return signed + b"." + part(hmac.digest(secret, signed, hashlib.sha256))


def test_a_key_counts_for_its_id_and_its_algorithm() -> None:
    named = rules(public("rsa", kid="b", alg="RS256"), public("rsa2", kid="a"))
    assert user_of(named, token(header={"kid": "b"}), NOW_S) == "dr.who"
    assert user_of(named, token(), NOW_S) == "dr.who"
    for wrong in (token(header={"kid": "a"}), token(algorithm="RS512", header={"kid": "b"})):
        with pytest.raises(ValueError, match="not signed with a known key"):
            user_of(named, wrong, NOW_S)


@pytest.mark.parametrize("garbage", [b"", b"x", b"a.b.c", b"\xff\xfe.\x00.", token()[:-9], b"x" * 20_000, b"e30.e30."])
def test_garbage_is_refused_without_being_shown(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r"^the token(?!.*dr\.who)") as caught:
        user_of(rules(), garbage, NOW_S)
    assert len(str(caught.value)) < 80


def test_the_header_of_a_stranger_loads_no_key() -> None:
    """RFC 8725 section 3.10: neither jwk nor jku nor x5u of the token itself is looked at."""
    own = {"jwk": json.loads(public("rsa2")), "jku": "http://127.0.0.1/keys", "x5u": "http://127.0.0.1/cert"}
    with pytest.raises(ValueError, match="not signed with a known key"):
        user_of(rules(), token("rsa2", header=own), NOW_S)
