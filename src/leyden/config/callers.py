"""callers.yml as the callers that may come in.

No file opens the door to all, and so does `[]`. So a blank file is an error (it may have been cut off), and so is an
unknown key, or a restriction that can't work: what was to be checked must not come in unchecked.
"""

from pathlib import Path

from leyden.admission.callers import Caller, TokenRules
from leyden.admission.passcode import is_hash
from leyden.admission.token import USER_MAX_CHARS
from leyden.config.nodes import Served
from leyden.config.report import Report, did_you_mean
from leyden.config.schema import CallerEntry, JwtEntry, place, read
from leyden.config.token_keys import public_keys
from leyden.config.yaml_text import At, Entries, Items, Node, Text

FILE = "callers.yml"
USERS_MAX = 1000


def callers(document: Node | None, served: Served | None, folder: Path, report: Report) -> tuple[Caller, ...]:
    """Every entry as a Caller. With `served` None (nodes.yml cannot be read) no called title is looked up."""
    if document is not None and not isinstance(document, Items):
        report.error(document.at, "", "must be a list: each caller begins with a dash (- AeTitle: ...)")
        return ()
    if document is None:
        report.error(At(FILE), "", "is empty; name who may call, or write [] if everybody may")
    elif not document:
        report.warn(At(FILE), "", "names nobody, so everybody may call")
    entries = (read(CallerEntry, given, report) for given in document or ())
    return tuple(_caller(entry, served, folder, report) for entry in entries if entry is not None and entry.ae_title)


def _caller(entry: CallerEntry, served: Served | None, folder: Path, report: Report) -> Caller:
    for n, title in enumerate(entry.called_ae_titles):
        if served is not None and title not in served.titles:
            what = f"{title} is no title that we answer to{did_you_mean(title, served.titles)}"
            report.error(title.at, place(("CalledAeTitles", n)), what)
    users = _users(entry.users, report)
    tokens = _tokens(entry.jwt, folder, report) if entry.jwt is not None else None
    if entry.identity != "off" and not entry.users and entry.jwt is None:
        what = f"{entry.identity}, but neither Users nor Jwt is given: no identity would be right"
        report.error(entry.places["Identity"], "Identity", what)
    if entry.identity == "off" and (entry.users or entry.jwt is not None):
        report.error(entry.at, "Identity", "is off: Users and Jwt would not be asked for; write optional or required")
    return Caller(
        title=str(entry.ae_title),
        where=str(entry.at),
        addresses=entry.addresses,
        certificates=entry.certificates,
        called=tuple(map(str, entry.called_ae_titles)),
        classes=entry.sop_classes,
        max_associations=entry.max_associations,
        maximum_line_speed_kb_per_s=entry.maximum_line_speed,
        disk_share_percent=entry.disk_share,
        identity=entry.identity,
        users=users,
        tokens=tokens,
        description=str(entry.description or ""),
    )


def _users(given: Entries, report: Report) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    if len(given) > USERS_MAX:
        report.error(given.at, "Users", f"has more than {USERS_MAX} names")
        return ()
    for name, value in given.items():
        written = str(value).strip() if isinstance(value, Text) else ""
        if not 0 < len(name) <= USER_MAX_CHARS or not name.isprintable():
            report.error(name.at, "Users", f"a user name has 1 to {USER_MAX_CHARS} printable characters")
        elif not is_hash(written):
            what = "is no hash of a passcode; `leyden passcode` makes one (what stands there is not shown)"
            report.error(name.at, f"Users.{name}", what)
        else:
            found[str(name)] = written
    return tuple(found.items())


def _tokens(given: Entries, folder: Path, report: Report) -> TokenRules | None:
    entry = read(JwtEntry, given, report, ("Jwt",))
    if entry is None:
        return None
    keys: list[str] = []
    for n, file in enumerate(entry.key_files):
        try:
            keys += public_keys(folder / file)
        except OSError as error:
            report.error(file.at, place(("Jwt", "KeyFiles", n)), f"{file} cannot be read: {error.strerror}")
        except ValueError as error:
            report.error(file.at, place(("Jwt", "KeyFiles", n)), f"{file} {error}")
    for name, text in (("Issuer", entry.issuer), ("Audience", entry.audience)):
        if name in entry.places and not text.strip():
            report.error(entry.places[name], f"Jwt.{name}", "is empty")
    return TokenRules(tuple(keys), str(entry.issuer).strip(), str(entry.audience).strip(), entry.algorithms)
