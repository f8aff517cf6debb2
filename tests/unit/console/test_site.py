"""The files of the page, and what a browser may do with them."""

import asyncio
import re
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from starlette.applications import Starlette

from leyden.console import site

PAGE = Path(str(files("leyden.console"))) / "page"
FILES = sorted(path.name for path in PAGE.iterdir())


def get(path: str, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=site.routes()))
        async with httpx.AsyncClient(transport=transport, base_url="http://leyden") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_served_under_a_policy_that_allows_our_own_files_alone(name: str) -> None:
    path = "/" if name == "index.html" else f"/page/{name}"
    answer = get(path)
    assert answer.status_code == 200
    assert answer.content == (PAGE / name).read_bytes()
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    again = get(path, **{"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_holds_no_script_and_no_style_of_its_own() -> None:
    page = (PAGE / "index.html").read_text()
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page)


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_site_or_makes_markup_of_a_text(name: str) -> None:
    text = (PAGE / name).read_text()
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)


def test_each_element_that_a_script_asks_for_is_on_the_page() -> None:
    there = set(re.findall(r'\sid="([\w-]+)"', (PAGE / "index.html").read_text()))
    for name in FILES:
        asked = set(re.findall(r'\$\("([\w-]+)"\)', (PAGE / name).read_text()))
        assert asked <= there, name
    ElementTree.fromstring((PAGE / "icon.svg").read_bytes())
