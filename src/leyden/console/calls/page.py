"""What the page asks for besides the stream: the rules, and what is found under a text."""

from typing import Annotated, Any

from msgspec import Meta

from leyden.console import drawing, stories
from leyden.console.call import Asked, Given, Needs, Nothing
from leyden.console.console import Console


class Searched(Given, frozen=True):
    """`text`: an accession number, a UID, or a receipt id. `names`: with the patients' names."""

    text: Annotated[str, Meta(min_length=1, max_length=stories.TEXT_CHARS, pattern=r"\S")]
    names: bool = False


async def rules(console: Console, _asked: Asked[Nothing, Nothing]) -> dict[str, Any]:
    return drawing.drawing(console.settings.plan)


async def search(console: Console, asked: Asked[Searched, Nothing]) -> dict[str, Any]:
    """A look at names is told to the journal."""
    text, names = asked.query.text.strip(), asked.query.names
    if names:
        console.access.check(asked.caller, Needs.OPERATE)
        console.operated(asked, "look at patient names", detail=stories.told_as(text))
    return await console.walks.do(stories.found, console.root, text, names=names)
