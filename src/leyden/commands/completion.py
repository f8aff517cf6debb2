"""`leyden completion`: the script by which a shell completes commands, options, files and the titles of destinations.

The script is made of the parser itself. Titles are read by the shell from nodes.yml, with sed: to start Python for them
at each press of the key would take too long.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from leyden.commands.options import Commands, add_command

SHELLS = ("bash", "zsh")
_NODES = ("NODE", "WHAT")  # the metavars of what is a destination
_PREAMBLE = r"""
# The AE titles in nodes.yml, a line each, in the folder that --path names.
_leyden_titles() {
  local word before= folder=/var/lib/leyden/data
  [ -d "$folder" ] || folder=data
  for word in "${COMP_WORDS[@]}" "${words[@]}"; do
    case $word in
      --path=*) folder=${word#--path=} ;;
      *) [ "$before" = --path ] && [ -n "$word" ] && folder=$word ;;
    esac
    before=$word
  done
  folder=${folder/#\~/$HOME}
  sed -nE 's/^[[:space:]-]*[Aa][Ee][Tt][Ii][Tt][Ll][Ee]:[[:space:]]*["'\'']?([A-Za-z0-9_.-]+).*/\1/p' \
    "$folder/nodes.yml" 2>/dev/null
}
"""
_COMPLETE = {
    "bash": "_leyden_complete_titles",
    "zsh": "_leyden_complete_titles",
    "preamble": {
        "bash": _PREAMBLE + '_leyden_complete_titles() {\n  compgen -W "$(_leyden_titles)" -- "$1"\n}\n',
        "zsh": _PREAMBLE + '_leyden_complete_titles() {\n  compadd -- ${(f)"$(_leyden_titles)"}\n}\n',
    },
}


def add_to(commands: Commands) -> None:
    text = "print the script for the completion of a shell: leyden completion bash > /etc/bash_completion.d/leyden"
    command = add_command(commands, "completion", call, text)
    command.add_argument("shell", choices=SHELLS, help="for which shell")


def call(options: argparse.Namespace) -> int:
    import shtab

    parser: argparse.ArgumentParser = options.parser
    for action in _actions(parser):
        how: Any = None
        if action.metavar in _NODES or action.dest == "destination":
            how = _COMPLETE
        elif action.metavar == "DIR":
            how = shtab.DIRECTORY
        elif action.metavar == "FILE":
            how = shtab.FILE
        if how is not None:
            setattr(action, "complete", how)  # noqa: B010  # as shtab wants it; argparse does not know it
    print(shtab.complete(parser, options.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All options and arguments, those of the commands too."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
