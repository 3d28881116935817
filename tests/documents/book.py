"""Builds the book of docs/ and checks that every link in it leads somewhere, anchors included.

    book.py MDBOOK OUTPUT

mdBook does what a book is; this adds what it does not do. The decisions are listed by their files, so that a new
one needs no line in SUMMARY.md. Files outside docs/ that pages link to, such as configs, are copied beside the book.
"""

import html
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = "- [Decisions](decisions/README.md)"


def main(mdbook, output):
    shutil.rmtree(output, ignore_errors=True)
    source = output / "source"
    shutil.copytree(ROOT / "docs", source)
    complete_summary(source)
    listed = (source / "SUMMARY.md").read_text()
    left_out = [page for page in source.rglob("*.md") if page.name != "SUMMARY.md"
                and f"({page.relative_to(source)})" not in listed]
    book = output / "docs"
    subprocess.run([mdbook, "build", source, "--dest-dir", book.resolve()], check=True)
    pages = {page: Page(page) for page in book.rglob("*.html") if page.name not in {"print.html", "toc.html", "404.html"}}
    for page in list(pages.values()):
        for link in page.links:
            copy_linked(page.path, link, output)
    mistakes = [f"{page.relative_to(source)} is not in SUMMARY.md" for page in left_out]
    for page in pages.values():
        mistakes += [f"docs/{page.path.relative_to(book).with_suffix('.md')} links to {link}, which is not there"
                     for link in page.links if not leads_somewhere(page, link, pages)]
    shutil.rmtree(source)
    (output / "index.html").write_text('<meta http-equiv="refresh" content="0; url=docs/">\n')
    for mistake in sorted(set(mistakes)):
        print(mistake, file=sys.stderr)
    print(f"{len(pages)} pages: {output}/docs/index.html")
    return 1 if mistakes else 0


def complete_summary(source):
    summary = source / "SUMMARY.md"
    lines = []
    for page in sorted((source / "decisions").glob("0*.md")):
        title = page.read_text().split("\n", 1)[0].removeprefix("# ")
        lines.append(f"  - [{title}](decisions/{page.name})")
    text = summary.read_text()
    if DECISIONS not in text:
        raise SystemExit(f"SUMMARY.md has no line {DECISIONS}")
    summary.write_text(text.replace(DECISIONS, "\n".join([DECISIONS, *lines])))


class Page(HTMLParser):
    """Where a page links to, and which anchors it has."""

    def __init__(self, path):
        super().__init__()
        self.path, self.links, self.anchors = path, set(), set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if found.get("id"):
            self.anchors.add(found["id"])
        link = found.get("href") if tag == "a" else found.get("src") if tag == "img" else None
        if link and not urlsplit(link).scheme and not link.startswith("//"):
            self.links.add(link)


def target(page, link):
    path = unquote(urlsplit(link).path)
    return (page.parent / path).resolve() if path else page


def copy_linked(page, link, output):
    """A file or directory of the repository beside docs/. mdBook has made README.html of README.md."""
    there = target(page, link)
    if there.is_file() or (there / "index.html").is_file() or not there.is_relative_to(output.resolve()):
        return
    name = there.relative_to(output.resolve())
    original = ROOT / name
    if original.is_dir():
        files = subprocess.run(["git", "ls-files", str(name)], cwd=ROOT, check=True, capture_output=True, text=True)
        for file in files.stdout.split():
            (output / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, output / file)
        below = [Path(file).relative_to(name) for file in files.stdout.split()]
        items = "\n".join(f'<li><a href="{file}">{file}</a>' for file in below)
        (there / "index.html").write_text(f"<title>{name}</title>\n<ul>\n{items}\n</ul>\n")
    elif original.with_suffix(".md").exists() and there.suffix == ".html":
        text = html.escape(original.with_suffix(".md").read_text())
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(f"<title>{name}</title><pre>{text}</pre>\n")
    elif original.exists():
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(original, there)


def leads_somewhere(page, link, pages):
    there, anchor = target(page.path, link), unquote(urlsplit(link).fragment)
    there = there / "index.html" if there.is_dir() else there
    known = {found.path.resolve(): found for found in pages.values()}
    if not there.exists():
        return False
    return not anchor or there not in known or anchor in known[there].anchors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
