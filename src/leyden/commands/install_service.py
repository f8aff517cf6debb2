"""`leyden install-service`: the unit of this machine, with its user and its folders."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from leyden.commands.options import Commands, add_command, load

if TYPE_CHECKING:
    from leyden.config.settings import Settings
    from leyden.operate.installation import Site


def add_to(commands: Commands) -> None:
    text = "make Leyden a service of systemd: write its unit, and make its user and folders"
    command = add_command(commands, "install-service", call, text)
    command.add_argument("--user", default="leyden", metavar="NAME", help="whom it runs as (default leyden)")
    command.add_argument("--dry-run", action="store_true", help="print the unit; change nothing")
    command.add_argument("--uninstall", action="store_true", help="stop the service and remove its unit, nothing else")
    command.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="the root of another system (default /)"
    )


def call(options: argparse.Namespace) -> int:
    from leyden.operate.installation import install, uninstall, unit, want_root

    root = options.root.absolute()
    if not options.dry_run:
        want_root()
    if options.uninstall:
        for line in uninstall(root):
            print(line)
        print("its user, configuration, spool and log stay")
        return 0
    site = _site(options, root)
    if options.dry_run:
        print(unit(site), end="")
        return 0
    for line in install(site, root):
        print(line)
    print("\nNow:")
    for step in _next(site, root):
        print(f"  {step}")
    return 0


def _site(options: argparse.Namespace, root: Path) -> "Site":
    """What the configuration says, or how it is without one. Raises ConfigError."""
    from leyden.operate.installation import STATE, Site, command

    path = Path(getattr(options, "path", STATE / "data")).absolute()
    log_dir = Path(options.log).absolute() if hasattr(options, "log") else None
    found = root / path.relative_to("/")
    user, started = options.user, command()
    if not any((found / name).exists() for name in ("config.yml", "nodes.yml")):
        return Site(started, path, path / "cache", log_dir or _default_log(path), user)
    options.path = found
    settings, warnings = load(options)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    spool = Path(settings.cache_path)
    if root != Path("/") and spool.is_relative_to(root):
        spool = Path("/") / spool.relative_to(root)
    ports = (settings.scp_port, settings.tls.port, settings.console.port if settings.console.enabled else 0)
    return Site(started, path, spool, log_dir or _default_log(path), user, ports, _written(settings))


def _default_log(path: Path) -> Path:
    from leyden.operate.installation import LOGS, STATE

    return LOGS if path.is_relative_to(STATE) else path / "log"


def _written(settings: "Settings") -> tuple[Path, ...]:
    """The folders of save_file rules and mapping files, up to the first part that is made from an object."""
    from leyden.plan.rules import ActionType

    actions = (action for route in settings.plan.routes or () for action in route.actions)
    targets = {action.target for action in actions if action.type is ActionType.SAVE_FILE}
    edits = (edit for mutation in settings.plan.mutations or () for edit in mutation.actions)
    targets |= {edit.mapping for edit in edits if edit.mapping}
    folders = {Path(target.partition("#{")[0] + "x").parent for target in targets}
    return tuple(sorted(folder for folder in folders if folder.is_absolute() and len(folder.parts) > 1))


def _next(site: "Site", root: Path) -> list[str]:
    path = f" --path {site.path}"
    configured = (root / site.path.relative_to("/") / "nodes.yml").exists()
    return [
        *([] if configured else [f"sudo -u {site.user} {site.command} init{path}    # writes the configuration"]),
        f"sudo -u {site.user} {site.command} check{path}",
        "systemctl enable --now leyden",
        "systemctl status leyden",
    ]
