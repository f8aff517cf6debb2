"""`leyden backup-config`: the configuration, the keys and the switches of this service in one file."""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from leyden.commands.options import Commands, add_command, load, spool_root

if TYPE_CHECKING:
    from leyden.config.settings import Settings


def add_to(commands: Commands) -> None:
    text = "pack the configuration, the keys and the switches into one file; no object is in it"
    command = add_command(commands, "backup-config", call, text)
    command.add_argument(
        "file", nargs="?", type=Path, help="what to write (default leyden-config-<host>-<time>.tar.gz)"
    )
    command.add_argument(
        "--without-keys", action="store_true", help="leave out keys, tokens, passcodes and mapping files"
    )
    command.add_argument("--json", action="store_true", help="one JSON document instead of lines")


def _secret_files(settings: "Settings") -> set[Path]:
    """Besides private keys, which are known by what is in them."""
    alerts = settings.alerts
    written = [each.credentials.secret_file for each in settings.destinations if each.credentials is not None]
    written += [alerts.mail.password_file, alerts.webhook.secret_file, settings.audit.key_file]
    return {Path(each) for each in written if each}


def _in_clear(settings: "Settings") -> list[str]:
    """Which files of the configuration hold a secret themselves, and which one."""
    found = []
    if settings.console.token or settings.console.service_password:
        found.append("config.yml holds the token or the password of the console")
    if any(each.credentials is not None and each.credentials.passcode for each in settings.destinations):
        found.append("nodes.yml holds a passcode")
    return found


def call(options: argparse.Namespace) -> int:
    import orjson

    from leyden.config.load import folder_of
    from leyden.errors import ConfigError
    from leyden.operate.backup import NotBackedUp, backup

    folder, root = folder_of(getattr(options, "path", None)).absolute(), spool_root(options)
    named: set[Path] = set()
    secret: set[Path] = set()
    warning = ""
    try:
        settings, _ = load(options)
        edits = (edit for mutation in settings.plan.mutations or () for edit in mutation.actions)
        named = {Path(edit.mapping) for edit in edits if edit.mapping}
        secret = named | _secret_files(settings)
        if options.without_keys and (clear := _in_clear(settings)):
            warning = f"{' and '.join(clear)} in clear"
    except ConfigError as error:
        if options.without_keys:
            raise NotBackedUp("the configuration has errors, so it can't be told which files hold secrets") from error
        warning = "the configuration has errors, so files that it names outside its folder are not packed"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    to = options.file or Path(f"leyden-config-{os.uname().nodename}-{stamp}.tar.gz")
    log_dir = getattr(options, "log", None) or folder / "log"
    done = backup(folder, root, log_dir, named, to, secret=secret, with_keys=not options.without_keys)
    if options.json:
        shown = {"file": str(done.path), "files": done.files, "secrets": done.secrets, "warning": warning}
        print(orjson.dumps(shown).decode())
        return 0
    print(f"{done.path}: {len(done.files)} files")
    if done.secrets:
        print(f"it holds secrets ({', '.join(done.secrets)}): keep it where nobody else can read it")
    if warning:
        print(f"warning: {warning}")
    return 0
