"""Follows the documents to the letter: each code block of each page is run, checked, or says why not.

Run by `make test-documents`. TIDEGATE_BIN is where the binaries are, PYTHON_CLIENTS the Python that has the
clients' packages. PAGES may name the pages to follow, after the first two.
"""

import json
import os
import shlex
import time
import unittest
from pathlib import Path

import fragments
from blocks import FIRST, blocks, inline_commands, pages
from machine import Machine

# Of what a command printed, when it failed.
ENOUGH = 2000


class Documents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        binaries = Path(os.environ["TIDEGATE_BIN"])
        cls.machine = Machine(binaries, os.environ["PYTHON_CLIENTS"], binaries.parent)
        cls.addClassCleanup(cls.machine.close)

    def test_every_block_runs_or_says_why_not(self):
        chosen = os.environ.get("PAGES", "").split()
        followed = [page for page in pages() if not chosen or page in [*FIRST, *chosen]]
        for page in followed:
            began, found = time.monotonic(), blocks(page)
            served, running = self.machine.ports, len(self.machine.daemons)
            if any((block.mark("run") or "").startswith("until") for block in found):
                self.machine.renew_ports()
            directory = self.machine.checkout(page)
            for block in found:
                with self.subTest(block.place):
                    self.follow(block, directory)
            if page != "README.md":
                self.machine.end_daemons(running)
                self.machine.ports = served
            print(f"{page}: {len(found)} blocks, {time.monotonic() - began:.1f} s", flush=True)

    def follow(self, block, directory):
        if not block.marks:
            self.fail(f"the block has no mark (tests/documents/blocks.py lists them):\n{block.text}")
        reason = block.mark("not run")
        if reason is not None:
            self.assertTrue(reason, "a block that is not run says why")
            return
        text = self.machine.moved(block.text)
        name = block.mark("file")
        if name:
            (directory / name).write_text(text)
        kind = block.mark("check")
        if kind is not None:
            self.check(kind, text, directory)
        if block.mark("python") is not None:
            (directory / "block.py").write_text(text)
            self.expect(0, [self.machine.python, "block.py"], directory)
        how = block.mark("run")
        if how is not None:
            self.run_shell(how, text, directory)

    def run_shell(self, how, text, directory):
        words = ["bash", "-euo", "pipefail", "-c", text]
        match how.split(maxsplit=1):
            case []:
                self.expect(0, words, directory)
            case ["exit", code]:
                self.expect(int(code), words, directory)
            case ["until", url]:
                # The daemon takes the shell's place, so that signals reach it.
                words[-1] = f"exec {text}"
                output = self.machine.start(words, directory, self.machine.moved(url))
                self.assertIsNone(output, f"the daemon does not answer at {url}:\n{output}")
            case _:
                self.fail(f"no such mark: run: {how}")

    def check(self, kind, text, directory):
        if kind == "json":
            json.loads(text)
            return
        path = directory / f"{kind}-of-a-block.toml"
        path.write_text(fragments.completed(kind, text, directory))
        words, codes = fragments.command(kind, path)
        code, output = self.machine.run(words, directory)
        self.assertIn(code, codes, f"{shlex.join(map(str, words))}:\n{output}")

    def expect(self, expected, words, directory):
        code, output = self.machine.run(words, directory)
        was = "not over in time" if code is None else code
        self.assertEqual(code, expected, f"{words[-1]}\nexpected {expected}, was {was}:\n{output[-ENOUGH:]}")


class Commands(unittest.TestCase):
    """Commands within sentences name subcommands and options that exist."""

    def test_inline_commands_exist(self):
        machine = Machine(os.environ["TIDEGATE_BIN"], os.environ["PYTHON_CLIENTS"], "/none")
        self.addCleanup(machine.close)
        helps = {}

        def help_of(words):
            if words not in helps:
                helps[words] = machine.run([*words, "--help"], machine.root)
            return helps[words]

        for page in pages():
            for line, command in inline_commands(page):
                with self.subTest(f"{page}:{line}"):
                    words = command.replace("[", " ").replace("]", " ").split()
                    program = (words[0],)
                    if len(words) > 1 and words[1].isalpha() and words[1].islower():
                        program += (words[1],)
                    code, text = help_of(program)
                    self.assertEqual(code, 0, f"{' '.join(program)}: {text}")
                    for option in (word.split("=")[0] for word in words if word.startswith("--")):
                        self.assertIn(option, text + " --help --version", f"`{command}`")


if __name__ == "__main__":
    unittest.main()
