"""The code blocks of the documents, and the mark that says what a test does with each.

A mark is an HTML comment right above its block, which readers do not see:

    run                          a shell runs it and ends with 0
    run: exit 2                  ... and ends with 2
    run: until URL               it is a daemon; the next blocks run once the URL answers with 200
    run: sh as NAME              run, and what it prints is kept in the file NAME
    python                       Python runs it, with the packages of tests/clients/requirements.txt
    check: KIND                  a part of a TOML file: added to the complete one of its kind, and checked by its daemon
    file: NAME                   it is written into the file NAME; may stand before another mark
    not run: REASON

Several marks are separated by a semicolon. A block without a mark is a mistake.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST = ["README.md", "docs/getting-started.md"]
MARK = re.compile(r"^<!--\s*((?:run|python|check|file|not run)\b.*?)\s*-->$", re.DOTALL)


@dataclass
class Block:
    page: str
    line: int
    text: str
    marks: list[str]

    @property
    def place(self):
        return f"{self.page}:{self.line}"

    def mark(self, name):
        """What follows the mark's name; an empty text for nothing; None without such a mark."""
        for mark in self.marks:
            head, _, rest = mark.partition(":")
            if head.strip() == name:
                return rest.strip()
        return None


def pages():
    """README.md first: what it starts stays for the others. Then the page that sends it the first load."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()
    documents = [page for page in listed if page.startswith(("README", "docs/", "terraform/"))]
    present = [page for page in documents if (ROOT / page).exists()]
    return sorted(present, key=lambda page: (FIRST.index(page) if page in FIRST else len(FIRST), page))


def blocks(page):
    lines = (ROOT / page).read_text().split("\n")
    found, at = [], 0
    while at < len(lines):
        line = lines[at]
        if line.lstrip().startswith("```"):
            end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == "```")
            found.append(block(page, lines, at, lines[at + 1:end]))
            at = end + 1
        elif is_indented(lines, at):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            found.append(block(page, lines, at, lines[at:end]))
            at = end
        else:
            at += 1
    return found


def is_indented(lines, at):
    """Four blanks begin a block of code, except where they continue a paragraph."""
    before = lines[at - 1].strip() if at else ""
    return lines[at].startswith("    ") and bool(lines[at].strip()) and (not before or before.endswith("-->"))


def block(page, lines, at, body):
    indent = min((len(line) - len(line.lstrip()) for line in body if line.strip()), default=0)
    text = "\n".join(line[indent:] for line in body).strip("\n") + "\n"
    return Block(page, at + 1, text, marks(lines, at))


def marks(lines, at):
    """Of the comment that ends right above line `at`; blank lines may be between."""
    end = at - 1
    while end >= 0 and not lines[end].strip():
        end -= 1
    if end < 0 or not lines[end].strip().endswith("-->"):
        return []
    begin = end
    while begin > 0 and "<!--" not in lines[begin]:
        begin -= 1
    found = MARK.match("\n".join(line.strip() for line in lines[begin:end + 1]))
    if not found:
        return []
    text = " ".join(found[1].split())
    return [text] if text.startswith("not run") else [mark.strip() for mark in text.split(";")]


def inline_commands(page):
    """`tidegate-...` commands within sentences and tables, with the lines on which they are."""
    inside = False
    for number, line in enumerate((ROOT / page).read_text().split("\n"), 1):
        if line.lstrip().startswith("```"):
            inside = not inside
        if inside or line.startswith("    "):
            continue
        for command in re.findall(r"`(tidegate-(?:proxy|scaler|worker|batch|backtest)(?: [^`]*)?)`", line):
            yield number, command
