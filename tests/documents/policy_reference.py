"""The keys of a policy, their types and defaults, as the code of scaler/policy and scaler/control has them.

    policy_reference.py          says whether docs/policy-reference.md has them
    policy_reference.py --write  writes them into it

The last column of the page, what a key means, is written by people and stays. The code is read as rustfmt
leaves it: a struct for each table, with serde's attributes.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from blocks import ROOT

PAGE = ROOT / "docs/policy-reference.md"
SOURCES = ["scaler/policy/src", "scaler/control/src/policy"]

# Which struct is which table. Tables in other tables are named by their path.
TABLES = {
    "": "PolicyFile",
    "[fleet]": "FleetRules",
    "[slo]": "Slo",
    "[forecast]": "ForecastRules",
    "[[signal]]": "SignalRule",
    "[[schedule]]": "ScheduleRule",
    "[cost]": "CostRules",
    "[scale_out], [scale_in]": "Behaviour",
    "scale_out.steps, scale_in.steps": "Step",
    "[[source]]": "SourceRule",
    "source.fallback": "FallbackRule",
    "source.basic": "BasicRule",
    "source.sigv4": "SignRule",
    "source.cloudwatch": "MetricRule",
    "source.sqs": "QueueRule",
    "[proxies]": "ProxyRules",
    "[scaler]": "ScalerRules",
    "[process]": "ProcessRules",
    "[container]": "ContainerRules",
    "container.mounts": "Mount",
    "[asg]": "AsgRules",
    "[lease]": "LeaseRules",
    "[cloudwatch]": "CloudWatchRules",
    "[up]": "UpRules",
    "up.batch": "BatchServiceRules",
}

TYPES = {
    "String": "text", "PathBuf": "path", "bool": "true or false", "f64": "number", "Duration": "duration",
    "SocketAddr": "address", "u32": "whole number", "u64": "whole number", "usize": "whole number",
    "BTreeMap<String, String>": "table of texts",
    # Those that read themselves.
    "Source": '`"proxy"` or the name of a `[[source]]`',
    "OnMissing": '`"hold"`, `"ignore"`, a whole number, or `{ value = N }`',
    "TargetValue": "number, or duration for a time",
    "EmfTarget": '`"stdout"` or path',
}

UNITS = {"from_millis": 1, "from_secs": 1000}


@dataclass
class Key:
    name: str
    type: str
    default: str


class Code:
    def __init__(self):
        files = [path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.rs"))]
        self.files = {path: path.read_text() for path in files}
        self.text = "\n".join(self.files.values())

    def file_of(self, struct):
        return next(text for text in self.files.values() if re.search(rf"pub struct {struct} {{", text))

    def keys(self, struct):
        text = self.file_of(struct)
        head, body = re.search(rf"((?:#\[[^\n]*\n)*)pub struct {struct} {{\n(.*?)\n}}", text, re.DOTALL).groups()
        whole = re.search(rf"impl Default for {struct} {{.*?{struct} {{\n(.*?)\n        }}", text, re.DOTALL)
        defaults = dict(re.findall(r"^ {12}(\w+): (.+),$", whole[1], re.MULTILINE)) if whole else {}
        has_defaults = "serde(default" in head
        found, attribute = [], ""
        for line in body.split("\n"):
            line = line.strip()
            field = re.fullmatch(r"(?:pub )?(\w+): (.+),", line)
            if line.startswith("#[serde"):
                attribute = line
            elif field:
                name, type_ = field.groups()
                renamed = re.search(r'rename = "(\w+)"', attribute)
                default = self.default(text, type_, attribute, defaults.get(name), has_defaults)
                found.append(Key(renamed[1] if renamed else name, self.type(type_), default))
                attribute = ""
        return found

    def type(self, type_):
        inner = re.fullmatch(r"(Option|Vec)<(.+)>", type_)
        if inner:
            return self.type(inner[2]) if inner[1] == "Option" else f"list of {self.type(inner[2])}s"
        if type_ in TABLES.values():
            return "table"
        return TYPES.get(type_) or self.values(type_)

    def values(self, enum):
        """The words of an enum without fields."""
        rule, body = re.search(rf'rename_all = "(\w+)"\)\]\npub enum {enum} {{\n(.*?)\n}}', self.text, re.DOTALL).groups()
        names = re.findall(r"^    (\w+),$", body, re.MULTILINE)
        return ", ".join(f'`"{word(name, rule)}"`' for name in names)

    def default(self, text, type_, attribute, written, has_defaults):
        function = re.search(r'default = "(\w+)"', attribute)
        if function:
            return self.value(text, re.search(rf"fn {function[1]}\(\) -> .*? {{\n    (.+)\n}}", text)[1])
        if written is not None:
            return self.value(text, written)
        if "default" in attribute or has_defaults:
            return self.value(text, f"{type_}::default()")
        return "required"

    def value(self, text, expression):
        constant = re.fullmatch(r"[A-Z_]+", expression)
        if constant:
            return self.value(text, re.search(rf"const {expression}: .*? =\s*(.+?);", text)[1])
        duration = re.search(r"Duration::(from_\w+)\((\d+)\)", expression)
        if duration:
            return f'`"{span(int(duration[2]) * UNITS[duration[1]])}"`'
        quoted = re.search(r'"(.*)"', expression)
        if quoted:
            return f'`"{quoted[1]}"`'
        if "Ipv4Addr::LOCALHOST" in expression:
            port = re.search(r"(\d+)\)$", expression)[1]
            return f'`"127.0.0.1:{port}"`'
        shifted = re.fullmatch(r"(\d+) << (\d+)", expression)
        if shifted:
            return f"`{int(shifted[1]) << int(shifted[2])}`"
        if re.fullmatch(r"[\d.]+|true|false", expression):
            return f"`{expression}`"
        return self.empty(expression)

    def empty(self, expression):
        if re.match(r"None|Option<|Vec<|Vec::|BTreeMap", expression):
            return "none"
        type_ = expression.removesuffix("::default()")
        if type_ == "bool":
            return "`false`"
        if type_ == "Duration":
            return '`"0s"`'
        enum = re.search(rf'pub enum {type_} {{(.*?)\n}}', self.text, re.DOTALL)
        if enum:
            rule = re.search(rf'rename_all = "(\w+)"\)\]\npub enum {type_} ', self.text)
            name = re.search(r"#\[default\]\n    (\w+)", enum[1])[1]
            return f'`"{word(name, rule[1] if rule else "snake_case")}"`'
        return "none" if type_ in TABLES.values() else expression


def word(name, rule):
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
    return snake.replace("_", "") if rule == "lowercase" else snake


def span(ms):
    if ms % 1000:
        return f"{ms}ms"
    return f"{ms // 60_000}m" if ms > 60_000 and ms % 60_000 == 0 else f"{ms // 1000}s"


def page_with(code, text):
    """The page with the code's keys; meanings are taken from the page."""
    for title, struct in TABLES.items():
        heading = f"## {title or 'At the top of the file'}\n"
        if heading not in text:
            text += f"\n{heading}\n| key | type | default | meaning |\n|---|---|---|---|\n"
        begin = text.index(heading)
        table = text.index("| key |", begin)
        rows = text.index("\n|---|---|---|---|\n", table) + len("\n|---|---|---|---|\n")
        end = rows
        while text.startswith("|", end):
            end = text.index("\n", end) + 1
        meanings = {}
        for row in text[rows:end].splitlines():
            cells = [cell.strip() for cell in row.strip("|").split(" | ")]
            meanings[cells[0].strip("`")] = cells[-1]
        keys = [key for key in code.keys(struct) if title or key.type not in {"table", "list of tables"}]
        lines = [f"| `{key.name}` | {key.type} | {key.default} | {meanings.get(key.name, '?')} |\n" for key in keys]
        text = text[:rows] + "".join(lines) + text[end:]
    return text


def main(words):
    text = PAGE.read_text()
    new = page_with(Code(), text)
    if words == ["--write"]:
        PAGE.write_text(new)
    elif new != text:
        print("docs/policy-reference.md is not what the code says: tests/documents/policy_reference.py --write", file=sys.stderr)
        return 1
    missing = re.findall(r"^\| `(\w+)` .* \| \? \|$", new, re.MULTILINE)
    if missing:
        print(f"docs/policy-reference.md does not say what these mean: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
