"""Parts of config files, completed by the files in configs/ and checked by the daemon that reads them."""

import json
import tomllib

COMPLETE = {
    "policy": "configs/policy.toml",
    "policy-aws": "configs/policy-aws.toml",
    "up": "configs/up.toml",
    "proxy": "configs/proxy.toml",
    "worker": "configs/worker.toml",
    "batch": "configs/batch.toml",
}


def completed(kind, text, directory):
    """The complete config with the part in it: its tables replace others, its lists of tables are added."""
    whole = tomllib.loads((directory / COMPLETE[kind]).read_text())
    for key, value in tomllib.loads(text).items():
        if isinstance(value, list) and isinstance(whole.get(key), list) and all(isinstance(v, dict) for v in value):
            names = {item.get("name") for item in value}
            whole[key] = [item for item in whole[key] if item.get("name") not in names] + value
        elif isinstance(value, dict) and isinstance(whole.get(key), dict):
            whole[key] = {**whole[key], **value}
        else:
            whole[key] = value
    return written(whole)


def written(table):
    plain = {key: value for key, value in table.items() if not is_tables(value)}
    lines = [f"{key} = {inline(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if is_tables(value):
            for one in value if isinstance(value, list) else [value]:
                lines.append(f"[[{key}]]" if isinstance(value, list) else f"[{key}]")
                lines += [f"{json.dumps(name)} = {inline(own)}" for name, own in one.items()]
    return "\n".join(lines) + "\n"


def is_tables(value):
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def inline(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {inline(own)}" for key, own in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(inline(own) for own in value) + "]"
    return json.dumps(value)


def command(kind, path):
    """What checks such a file, and its exit codes. A worker ends with 78 where the file is wrong, and otherwise with 1,
    as there is no model."""
    match kind:
        case "proxy":
            return ["tidegate-proxy", "--config", path, "--check"], [0]
        case "batch":
            return ["tidegate-batch", "serve", "--config", path, "--check"], [0]
        case "worker":
            return ["tidegate-worker", "serve", "--config", path, "--model", "/none", "--check"], [1]
        case _:
            return ["tidegate-scaler", "check", path], [0]
