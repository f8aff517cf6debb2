"""The accession number in the journal: a keyed hash, which can be asked for by who knows the number, but not read."""

from hashlib import blake2b

_DIGEST_BYTES = 8


def keyed(accession: str, key: bytes) -> str:
    """What the journal holds of an accession number: 16 hex digits; "" of none, and without a key."""
    accession = accession.strip()
    if not (accession and key):
        return ""
    return blake2b(accession.encode("utf-8", "surrogateescape"), key=key, digest_size=_DIGEST_BYTES).hexdigest()
