"""The user identity with which we call a peer (PS3.7 D.3.3.7), from a file that is read for each call.

So a passcode is in memory only as long as an association is negotiated, and a new one needs no reload. Deliberately
absent: Kerberos and SAML.
"""

from leyden.dicom.negotiate import JWT, USERNAME, USERNAME_AND_PASSCODE, UserIdentity
from leyden.net.certificates import BadFile, check_private, content_of

NOT_GIVEN = "$CREDENTIALS_DIRECTORY/"  # in front of the name of a credential that systemd has not given to us
SECRET_MAX_BYTES = 60_000  # a field has a length of 16 bits, and both share an item


def user_identity(username: str, secret_file: str, passcode: str = "") -> UserIdentity:
    """The identity: a user, with the passcode if there is one; without `username`, the JWT in `secret_file`.

    No positive response is asked for: who does not accept the user rejects the association, and what an acceptor that
    knows no user identity ignores was sent by then. Raises BadFile.
    """
    secret = read_secret(secret_file) if secret_file else passcode.encode()
    if not username:
        return UserIdentity(JWT, secret)
    return UserIdentity(USERNAME_AND_PASSCODE if secret else USERNAME, username.encode(), secret)


def read_secret(path: str) -> bytes:
    """The first line of a file that only its owner has rights to. Raises BadFile, which never holds it."""
    if path.startswith(NOT_GIVEN):
        name = path.removeprefix(NOT_GIVEN)
        raise BadFile("", f"systemd gives the credential {name} to the service alone, by LoadCredential= in its unit")
    check_private("", path)
    content = content_of("", path)
    secret = content.partition(b"\n")[0].strip(b"\r\n \t")
    if not secret:
        raise BadFile("", f"{path} is empty, or its first line is")
    if len(secret) > SECRET_MAX_BYTES:
        raise BadFile("", f"the first line of {path} has more than {SECRET_MAX_BYTES} bytes")
    return secret
