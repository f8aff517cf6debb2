"""What the page asks for besides the stream: the rules, and what is found under a text."""

from typing import Any

from leyden.console import drawing, stories
from leyden.console.call import Asked, Given, Needs, Nothing, Refused
from leyden.console.console import Console


class Searched(Given, frozen=True):
    """`text`: an accession number, a UID, or a receipt id. `names`: with the patients' names."""

    text: str
    names: bool = False


async def rules(console: Console, _asked: Asked[Nothing, Nothing]) -> dict[str, Any]:
    return drawing.drawing(console.settings.plan)


async def search(console: Console, asked: Asked[Searched, Nothing]) -> dict[str, Any]:
    """A look at names is told to the journal."""
    text, names = asked.query.text.strip(), asked.query.names
    if not 0 < len(text) <= stories.TEXT_CHARS:
        raise Refused(400, "bad_request", f"text has 1 to {stories.TEXT_CHARS} characters")
    if names:
        console.access.check(asked.caller, Needs.OPERATE)
        console.operated(asked, "look at patient names")
    return await console.walks.do(stories.found, console.root, text, names=names)
