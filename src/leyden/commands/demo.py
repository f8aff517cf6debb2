"""`leyden demo`."""

import argparse

from leyden.commands.options import Commands, add_command


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    text = "show the whole trip on this machine with real images, four modalities and two PACS; under a minute"
    add_command(commands, "demo", call, text)


def call(_options: argparse.Namespace) -> int:
    from leyden import demo

    return demo.run()
