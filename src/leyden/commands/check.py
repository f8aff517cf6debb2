"""`leyden check`."""

import argparse

from leyden.commands.options import Commands, add_command, load


def add_to(commands: Commands) -> None:
    text = "read the configuration, report every error with its line, and say what would be served"
    add_command(commands, "check", call, text)


def call(options: argparse.Namespace) -> int:
    from leyden.supervisor import describe

    settings, warnings = load(options)
    for warning in warnings:
        print(f"warning: {warning}")
    for destination in settings.destinations:
        print(describe(destination))
    routes = settings.plan.routes
    print(f"our title {settings.my_ae_title}, port {settings.scp_port}, spool {settings.cache_path}")
    if routes is None:
        print("route filter off")
    else:
        print(f"route filter on, {len(routes)} route{'s' if len(routes) != 1 else ''}")
    print("the configuration is good")
    return 0
