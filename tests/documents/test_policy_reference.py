"""docs/policy-reference.md has the keys, types and defaults of the code, and the keys that the scaler accepts.

Run by `make test-documents`.
"""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import policy_reference
from blocks import ROOT

UNKNOWN = "not_a_key"

# How each table is written that is no `[table]` or `[[table]]` at the top of the file.
NESTED = {
    "": f"{UNKNOWN} = 1",
    "[scale_out], [scale_in]": f"[scale_in]\n{UNKNOWN} = 1",
    "scale_out.steps, scale_in.steps": f"[scale_out]\nsteps = [{{ {UNKNOWN} = 1 }}]",
    "container.mounts": f"[container]\nmounts = [{{ {UNKNOWN} = 1 }}]",
    "up.batch": f"[up.batch]\n{UNKNOWN} = 1",
}


def written(title):
    if title in NESTED:
        return NESTED[title]
    if title.startswith("source."):
        return f"[[source]]\n{title.removeprefix('source.')} = {{ {UNKNOWN} = 1 }}"
    return f"{title}\n{UNKNOWN} = 1"


class PolicyReference(unittest.TestCase):
    def test_the_page_is_what_the_code_says(self):
        self.assertEqual(policy_reference.main([]), 0)

    def test_the_scaler_accepts_these_keys(self):
        code = policy_reference.Code()
        scaler = Path(os.environ["TIDEGATE_BIN"]) / "tidegate-scaler"
        for title, struct in policy_reference.TABLES.items():
            with self.subTest(title or "the top of the file"), tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(written(title) + "\n")
                file.flush()
                check = subprocess.run([scaler, "check", file.name], capture_output=True, text=True)
                refusal = re.search(rf"{UNKNOWN}: unknown key; expected (?:one of )?(.+?)(?:; did you|$)", check.stderr, re.MULTILINE)
                self.assertTrue(refusal, check.stderr)
                accepted = set(re.split(r", | or ", refusal[1]))
                self.assertEqual({key.name for key in code.keys(struct)}, accepted)

    def test_every_default_is_accepted(self):
        """As the page has them, in a policy that says nothing else of these tables."""
        policy = (ROOT / "configs/policy.toml").read_text()
        page = policy_reference.PAGE.read_text()
        scaler = Path(os.environ["TIDEGATE_BIN"]) / "tidegate-scaler"
        for title in ["[fleet]", "[forecast]", "[proxies]", "[scaler]", "[process]"]:
            rows = page.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
            for key, default in re.findall(r"^\| `(\w+)` \| .*? \| `([^`]+)` \|", rows, re.MULTILINE):
                with self.subTest(f"{title} {key}"), tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                    head, table, rest = policy.partition(f"\n{title}\n")
                    body, mark, after = rest.partition("\n[")
                    body = re.sub(rf"(?m)^{key} = .*$", "", body)
                    file.write(f"{head}{table}{key} = {default}\n{body}{mark}{after}")
                    file.flush()
                    check = subprocess.run([scaler, "check", file.name], capture_output=True, text=True)
                    self.assertEqual(check.returncode, 0, check.stderr)


if __name__ == "__main__":
    unittest.main()
