"""What alerts go by, as they were configured. No settings hold a secret, only the file that it stands in."""

import msgspec


class WebhookSettings(msgspec.Struct, frozen=True):
    """Who gets a message as JSON; `url` "" = nobody.

    `secret_file` "" = unsigned. `secret_as`: hmac, the body is signed with it, or bearer, it is sent as a token.
    `ca_file`: PEM of the authority that the server is checked with, "" = those of the system.
    """

    url: str = ""
    secret_file: str = ""
    secret_as: str = "hmac"
    ca_file: str = ""


class MailSettings(msgspec.Struct, frozen=True):
    """Who gets a message as mail, and over which server; `server` "" = nobody.

    `security`: starttls, tls or none. `user` "" = no login.
    """

    server: str = ""
    port: int = 587
    security: str = "starttls"
    user: str = ""
    password_file: str = ""
    ca_file: str = ""
    sender: str = ""
    to: tuple[str, ...] = ()


class AlertSettings(msgspec.Struct, frozen=True):
    """From when on something is worth a message. A limit of 0 is off, but for that of the disk (percent)."""

    destination_down_s: float = 900.0
    queue_older_s: float = 7200.0
    disk_below_percent: float = 15.0
    certificate_ends_s: float = 30 * 86400.0
    objects: bool = True
    webhook: WebhookSettings = WebhookSettings()
    mail: MailSettings = MailSettings()

    @property
    def enabled(self) -> bool:
        """Whether anybody is to be told."""
        return bool(self.webhook.url or self.mail.server)


NO_ALERTS = AlertSettings()
