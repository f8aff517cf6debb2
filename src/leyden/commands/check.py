"""`leyden check`."""

import argparse
from pathlib import Path

from leyden.commands.options import Commands, add_command, load, want_configuration


def add_to(commands: Commands) -> None:
    text = "read the configuration, report every error with its line, and say what would be served"
    add_command(commands, "check", call, text)


def call(options: argparse.Namespace) -> int:
    from leyden.admission.callers import who_may_call
    from leyden.spool.guarded import check_rights, check_secrets
    from leyden.supervisor import describe

    want_configuration(options)
    settings, warnings = load(options)
    check_rights(settings.spool_root, Path(settings.path), Path(settings.log_dir))  # Unsafe: the service won't start
    check_secrets(settings.spool_root, settings.secrets)
    for warning in warnings:
        print(f"warning: {warning}")
    for destination in settings.destinations:
        print(describe(destination))
    ports = f"port {settings.scp_port}" + (f", TLS port {settings.tls.port}" if settings.tls.port else "")
    print(f"our title {settings.my_ae_title}, {ports}, spool {settings.cache_path}")
    print(who_may_call(settings.receiver.callers, settings.receiver.acceptor.allowed_calling))
    plan = settings.plan
    read = {"route": plan.routes, "mutate": plan.mutations, "sort": plan.sortings}
    on = [
        f"{name} ({len(rules)} rule{'s' if len(rules) != 1 else ''})"
        for name in plan.filters
        if (rules := read[name]) is not None
    ]
    print(f"filters, in this order: {', '.join(on)}" if on else "no filter is on")
    print("the configuration is good")
    return 0
