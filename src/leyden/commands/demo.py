"""`leyden demo`."""

import argparse

from leyden.commands.options import Commands, add_command


def add_to(commands: Commands) -> None:
    text = "play the example on this machine: real images, four modalities, two PACS; takes less than a minute"
    add_command(commands, "demo", call, text)


def call(_options: argparse.Namespace) -> int:
    from leyden import demo

    return demo.run()
