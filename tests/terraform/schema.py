"""What a Terraform module says that its provider, or the module itself, does not know.

The provider's schema (aws-provider-schema.json) holds every argument and nested block that can be
set, and which of them must be. Attributes that can only be read are not in it, so references are
followed to a resource and no further.
"""

import functools
import json
import re
from pathlib import Path

import hcl2
from hcl2 import SerializationOptions

SCHEMA = json.loads((Path(__file__).parent / "aws-provider-schema.json").read_text())

META = {"count", "for_each", "depends_on", "provider", "lifecycle"}
LIFECYCLE = {
    "create_before_destroy", "prevent_destroy", "ignore_changes", "replace_triggered_by",
    "precondition", "postcondition",
}
DYNAMIC = {"for_each", "content", "iterator"}
OPTIONS = SerializationOptions(with_comments=False)

REFERENCE = re.compile(r"(?<![\w.\"-])(var|local|module|data\.aws_\w+|aws_\w+)\.([A-Za-z_][\w-]*)")


@functools.cache
def parse(text):
    return hcl2.loads(text, serialization_options=OPTIONS)


class Module:
    """The files of one directory, as they stand."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.files = {
            path.name: parse(path.read_text())
            for path in sorted(self.directory.glob("*.tf"))
        }

    def blocks(self, kind):
        """(file, labels, body) of each block of a kind."""
        for file, content in self.files.items():
            for block in content.get(kind, []):
                yield file, *unwrap(block)

    def variables(self):
        return {labels[0]: body for _, labels, body in self.blocks("variable")}

    def outputs(self):
        return {labels[0] for _, labels, _ in self.blocks("output")}

    def local_names(self):
        return {name for _, _, body in self.blocks("locals") for name in own(body)}

    def declared(self):
        names = {("var", name) for name in self.variables()}
        names |= {("local", name) for name in self.local_names()}
        names |= {("module", labels[0]) for _, labels, _ in self.blocks("module")}
        names |= {(labels[0], labels[1]) for _, labels, _ in self.blocks("resource")}
        return names | {(f"data.{labels[0]}", labels[1]) for _, labels, _ in self.blocks("data")}

    def faults(self):
        """One line for each thing that is wrong."""
        found = []
        for kind in ("resource", "data"):
            for file, (block_type, name), body in self.blocks(kind):
                place = f"{file}: {block_type}.{name}"
                schema = SCHEMA.get(f"{kind}.{block_type}")
                if schema is None:
                    found.append(f"{place}: no such {kind}")
                else:
                    found += body_faults(place, body, schema, META)
                    found += lifecycle_faults(place, body)
        return found + self.call_faults() + self.reference_faults() + self.prose_faults()

    def call_faults(self):
        """Inputs of modules in this tree."""
        found = []
        for file, (name,), body in self.blocks("module"):
            source = text(body["source"])
            inputs = Module(self.directory / source).variables()
            given = own(body) - {"source", "version", "providers"} - META
            place = f"{file}: module.{name}"
            found += [f"{place}: no input {wrong}" for wrong in sorted(given - inputs.keys())]
            needed = {name for name, variable in inputs.items() if "default" not in variable}
            found += [f"{place}: {missing} is missing" for missing in sorted(needed - given)]
        return found

    def reference_faults(self):
        declared, used = self.declared(), set()
        found = []
        for file, content in self.files.items():
            for expression in strings(content):
                for reference in REFERENCE.findall(expression):
                    used.add(reference)
                    if reference not in declared:
                        found.append(f"{file}: {'.'.join(reference)} is not declared")
        found += self.output_faults()
        idle = {name for name in declared - used if name[0] in ("var", "local")}
        return found + [f"{'.'.join(name)} is not used" for name in sorted(idle)]

    def output_faults(self):
        """module.NAME.OUTPUT of modules in this tree."""
        calls = {labels[0]: text(body["source"]) for _, labels, body in self.blocks("module")}
        found = []
        for file, content in self.files.items():
            for expression in strings(content):
                for name, output in re.findall(r"module\.([\w-]+)\.(\w+)", expression):
                    if name in calls and output not in Module(self.directory / calls[name]).outputs():
                        found.append(f"{file}: module.{name} has no output {output}")
        return found

    def prose_faults(self):
        """Variables are typed and described, outputs described."""
        found = [
            f"var.{name}: {key} is missing"
            for name, body in self.variables().items()
            for key in ("type", "description")
            if key not in body
        ]
        outputs = self.blocks("output")
        return found + [f"output.{l[0]}: description is missing" for _, l, b in outputs if "description" not in b]


def body_faults(place, body, schema, meta):
    """Of a resource or a nested block: `schema` says what may and must be in it."""
    found, given = [], {}
    for name, value in body_items(body):
        if name in meta:
            continue
        if name == "dynamic":
            for dynamic in value:
                (label,), inner = unwrap(dynamic)
                found += [f"{place}: dynamic {label}: no such key {key}" for key in sorted(own(inner) - DYNAMIC)]
                found += [f"{place}: dynamic {label}: {key} is missing" for key in sorted({"for_each", "content"} - own(inner))]
                given.setdefault(label, []).append(("dynamic", inner.get("content", [])))
        elif is_block(value):
            given.setdefault(name, []).append(("block", value))
        else:
            given.setdefault(name, []).append(("argument", value))
    for name, uses in given.items():
        found += use_faults(f"{place}: {name}", uses, schema.get(name))
    required = {name for name, entry in schema.items() if entry["required"]}
    return found + [f"{place}: {name} is missing" for name in sorted(required - given.keys())]


def use_faults(place, uses, entry):
    if entry is None:
        return [f"{place}: no such argument or block"]
    found, blocks = [], 0
    for how, value in uses:
        if how == "argument":
            if "block" in entry:
                found.append(f"{place}: is a block, not an argument")
            else:
                found += literal_faults(place, value, entry["type"])
            continue
        if "block" not in entry:
            found.append(f"{place}: is an argument, not a block")
            continue
        for body in value:
            blocks += how == "block"
            found += body_faults(place, body, entry["block"], set())
    if blocks > 1 and not entry["list"]:
        found.append(f"{place}: {blocks} blocks where one may be")
    return found


def literal_faults(place, value, kind):
    """Of what is no expression, whether it can be of its type at all."""
    if isinstance(value, str) and value.startswith("${"):
        return []
    fits = {
        "collection:array": lambda: isinstance(value, list),
        "collection:map": lambda: isinstance(value, dict),
        "number": lambda: isinstance(value, (int, float)) and not isinstance(value, bool),
        "string": lambda: isinstance(value, str) or value is None,
        "union": lambda: isinstance(value, (bool, str)),
    }
    fine = value is None or fits.get(kind, lambda: True)()
    return [] if fine else [f"{place}: {value!r} is no {kind.removeprefix('collection:')}"]


def lifecycle_faults(place, body):
    found = []
    for block in body.get("lifecycle", []):
        found += [f"{place}: lifecycle: no such key {key}" for key in sorted(own(block) - LIFECYCLE)]
        for kind in ("precondition", "postcondition"):
            for condition in block.get(kind, []):
                missing = {"condition", "error_message"} - own(condition)
                found += [f"{place}: {kind}: {key} is missing" for key in sorted(missing)]
    return found


def own(body):
    """The keys that the file's author wrote."""
    return {key for key in body if not key.startswith("__")}


def body_items(body):
    return [(key, value) for key, value in body.items() if not key.startswith("__")]


def is_block(value):
    return isinstance(value, list) and any(isinstance(item, dict) and item.get("__is_block__") for item in value)


def unwrap(block):
    """Labels and body of `kind "label" "label" {}`."""
    labels = []
    while not block.get("__is_block__"):
        ((label, block),) = block.items()
        labels.append(text(label))
    return labels, block


def text(quoted):
    return quoted.strip('"')


def strings(value):
    """All expressions and texts below a value, keys included: a key may be an expression."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key not in ("error_message", "description", "about"):
                yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value
