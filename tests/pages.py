"""The README and the docs as a reader follows them: what to run and to write, in order, and what else a page holds."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent
PROGRAMS = ("make ", "pytest ", "prolepsis ", "python -m ")


@dataclass(frozen=True)
class Run:
    """A command, and what it prints where the page shows it."""

    command: str
    printed: str | None = None


@dataclass(frozen=True)
class Write:
    """A text for a file: a new one, or, where ``place`` says so, for its end or below one of its lines."""

    file: str
    text: str
    place: str | None = None
    line: str = ""

    def apply(self, root: Path) -> None:
        """Do it in the folder ``root``."""
        path = root / self.file
        if self.place == "end":
            path.write_text(path.read_text() + self.text)
        elif self.place == "below":
            before, line, after = path.read_text().partition(self.line + "\n")
            assert line, f"{self.file} has no line {self.line!r}"
            path.write_text(before + line + self.text + after)
        else:
            assert not path.exists(), f"{self.file} is there already"
            path.write_text(self.text)


PLACES = (
    (re.compile(r"[Aa]t the end of `(?P<file>[^`]+)`:$"), "end"),
    (re.compile(r"[Ii]n `(?P<file>[^`]+)`, below `(?P<line>[^`]+)`:$"), "below"),
    (re.compile(r"`(?P<file>[^`]+\.\w+)`:$"), None),
)
"""How the sentence before a block says which file it is for."""


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def tokens(self) -> Sequence[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.path.read_text())

    @cached_property
    def inline(self) -> list[Token]:
        """Everything within paragraphs, headings and cells: text, code, links."""
        return [child for token in self.tokens if token.type == "inline" for child in token.children or ()]

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks in one language."""
        return [token.content for token in self.tokens if token.type == "fence" and token.info == language]

    def steps(self) -> Iterator[Run | Write]:
        """What the page tells to do, in order; a command that is told again comes once."""
        seen: set[str] = set()
        sentence = ""
        for token in self.tokens:
            for step in _steps(token, sentence):
                if isinstance(step, Write) or step.command not in seen:
                    yield step
                if isinstance(step, Run):
                    seen.add(step.command)
            sentence = " ".join(token.content.split()) if token.type == "inline" else sentence

    def commands(self) -> list[str]:
        return [step.command for step in self.steps() if isinstance(step, Run)]

    def links(self) -> list[str]:
        return [str(token.attrs["href"]) for token in self.inline if token.type == "link_open"]

    def anchors(self) -> set[str]:
        """What a link to a heading of this page may name."""
        heads = [after.content for token, after in pairwise(self.tokens) if token.type == "heading_open"]
        return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}

    def tables(self) -> list[list[list[str]]]:
        """Table → row → cell, heads included; code in cells loses its marks."""
        found: list[list[list[str]]] = []
        for token, after in pairwise(self.tokens):
            if token.type == "table_open":
                found.append([])
            elif token.type == "tr_open":
                found[-1].append([])
            elif token.type in ("th_open", "td_open"):
                found[-1][-1].append(after.content.replace("`", ""))
        return found


PAGES = tuple(map(Page, (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))))


def _steps(token: Token, sentence: str) -> Iterator[Run | Write]:
    """The steps of one token; ``sentence`` is the paragraph before it.

    A subcommand that a sentence only names is asked for its help.
    """
    for child in token.children or ():
        if child.type == "code_inline" and child.content.startswith(PROGRAMS):
            bare = re.fullmatch(r"prolepsis \w+", child.content)
            yield Run(f"{child.content} --help" if bare else child.content)
    if token.type == "fence" and token.info == "console":
        for shown in re.split(r"^\$ ", token.content, flags=re.MULTILINE)[1:]:
            command, _, printed = shown.partition("\n")
            yield Run(command, printed)
    elif token.type == "code_block" or (token.type == "fence" and token.info in ("sh", "bash", "")):
        lines = re.sub(r"\\\n\s*", "", token.content).splitlines()
        commands = [re.sub(r"\s+# .*", "", line).strip() for line in lines]
        told = token.info in ("sh", "bash")
        yield from (Run(command) for command in commands if command and (told or command.startswith(PROGRAMS)))
    elif token.type == "fence":
        for pattern, place in PLACES:
            if (match := pattern.search(sentence)) is not None:
                found = match.groupdict()
                yield Write(found["file"], token.content, place, found.get("line", ""))
                return
