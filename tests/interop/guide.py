"""The programs of docs/endpoint-guide.md, as a reader would put them together."""

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs/endpoint-guide.md"

# The function that the page says to replace is the last of the program.
LAST_FUNCTION = {"python": '@app.post("/users")', "js": "function receive("}


def program(language: str, payload: str) -> str:
    """The program for `Standard`, or with its last function replaced for `CloudEvents`."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    standard, last_function = blocks
    if payload == "Standard":
        return standard
    start, found, _ = standard.partition(LAST_FUNCTION[language])
    assert found, f"no {LAST_FUNCTION[language]} in the {language} program"
    return start + last_function
