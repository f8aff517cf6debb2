"""What the audit log goes by, as it was configured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """The audit repository that gets ATNA messages over syslog with TLS. Files are PEM; "" = none is used."""

    host: str
    port: int = 6514
    ca_file: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """`keep_days`: how long archived files are kept, 0 = for ever. `key_file`: "" = state/audit.key of the spool."""

    keep_days: int = 0
    key_file: str = ""
    collector: CollectorSettings | None = None
