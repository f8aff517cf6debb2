"""What the audit log goes by, as it was configured."""

import msgspec


class CollectorSettings(msgspec.Struct, frozen=True):
    """The audit repository that gets ATNA messages over syslog with TLS; without a host there is none.

    Files are PEM; "" = none is used.
    """

    host: str = ""
    port: int = 6514
    ca_file: str = ""
    certificate: str = ""
    key: str = ""


_NO_COLLECTOR = CollectorSettings()


class AuditSettings(msgspec.Struct, frozen=True):
    """`enabled`: whether there is an audit log. `keep_days`: how long archived files are kept, 0 = for ever.

    `key_file`: "" = state/audit.key of the spool.
    """

    enabled: bool = False
    keep_days: int = 0
    key_file: str = ""
    collector: CollectorSettings = _NO_COLLECTOR


NO_AUDIT = AuditSettings()
