"""A destination as the sender sees it: one node of nodes.yml, every default resolved."""

from dataclasses import dataclass, field

import msgspec


class TlsSettings(msgspec.Struct, frozen=True):
    """How a peer is reached over TLS. The files are in PEM, by their absolute paths; "" = none.

    `name` stands in its certificate, which one of `authorities` has signed ("" = those of the system), and which
    `revocation_lists` must not name. `certificate` and `key` are ours.
    """

    name: str
    authorities: str = ""
    certificate: str = ""
    key: str = ""
    revocation_lists: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we say that we are (PS3.7 D.3.3.7). The passcode, or without `username` the JWT, stands in `secret_file`.

    `passcode` is one that nodes.yml holds in clear: only the settings of the sender have it, and all others say that it
    is `withheld`.
    """

    username: str = ""
    secret_file: str = ""
    passcode: str = field(default="", repr=False)
    withheld: bool = False


class Destination(msgspec.Struct, frozen=True):
    """Where and how to deliver. `syntax` is the wanted transfer syntax UID, or empty: send as received.

    How much a lossy one may lose: `quality` (JPEG and JPEG XL, 1 to 100), `compression_ratio` (JPEG 2000, HTJ2K),
    `near_lossless` (JPEG-LS: the greatest difference of a sample); `recompress_lossy`: also of what is lossy already.
    `aliases` hold every other title it answers to (prefix + title too); they are for the log only.
    `schedule` holds pairs of minutes after midnight (start, end; end < start crosses midnight), `networks` the texts
    of ProcessNetworks; empty = always and everywhere. A limit of 0 is off.
    `tls` None = plain TCP; `credentials` only go over TLS.
    `keep_rejected` False: what it answers no to for good is removed, once there is a receipt of that.
    `disk_share_percent`: what is for it may take so much of the spool's volume.
    """

    ae_title: str
    host: str
    port: int
    aliases: tuple[str, ...] = ()
    impersonate: bool = False
    syntax: str = ""
    quality: int = 90
    compression_ratio: float = 10.0
    near_lossless: int = 2
    recompress_lossy: bool = False
    priority: int = 0
    max_associations: int = 4
    batch_size: int = 0
    minimum_line_speed_kb_per_s: int = 500
    maximum_line_speed_kb_per_s: int = 0
    stall_threshold_s: float = 90.0
    connect_timeout_s: float = 30.0
    storage_timeout_floor_s: float = 900.0
    abandon_grace_s: float = 0.0
    process_delay_ms: int = 0
    process_delay_window_multiplier: float = 1.0
    schedule: tuple[tuple[int, int], ...] = ()
    networks: tuple[str, ...] = ()
    retry_delays_s: tuple[float, ...] = ()
    expiry_threshold_s: float = 604800.0
    keep_rejected: bool = True
    tls: TlsSettings | None = None
    credentials: Credentials | None = None
    disk_share_percent: float = 0.0
