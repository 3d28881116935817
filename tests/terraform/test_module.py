"""The Terraform module against its provider's schema, its own validations and the real binaries.

Needs no AWS account and no provider. What asks the terraform CLI is skipped where there is none.
Run by `make test-terraform`; TIDEGATE_BIN is where the binaries are.
"""

import base64
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

from schema import Module

ROOT = Path(__file__).resolve().parents[2]
TERRAFORM = ROOT / "terraform"
EXAMPLE = TERRAFORM / "examples" / "complete"
TEMPLATES = TERRAFORM / "templates"
CLI = shutil.which("terraform")
LIMIT = 120

SAMPLES = {
    "policy.toml.tftpl": {
        "model": "all-MiniLM-L6-v2", "min": 1, "max": 12, "lead_time": 240, "latency_ms": 2000,
        "price_per_hour": 0.1785, "budget_per_hour": 2.142,
    },
    "policy-lines.toml.tftpl": {
        "name": "encoders", "region": "eu-central-1",
        "proxies": "http://proxies.encoders.internal:9090", "group": "encoders-workers",
        "launch_hook": "model-answers", "terminate_hook": "drained",
        "lease_table": "encoders-scaler",
    },
    "proxy.toml.tftpl": {
        "model": "all-MiniLM-L6-v2", "api_keys": 'api_keys_file = "/etc/tidegate/api-keys"',
    },
    "worker.toml.tftpl": {
        "name": "all-MiniLM-L6-v2", "proxies": "http://proxies.encoders.internal:9090",
        "region": "eu-central-1",
    },
    "boot.sh.tftpl": {
        "region": "eu-central-1", "image": "1.dkr.ecr.eu-central-1.amazonaws.com/encoders/proxy:v1",
        "registry": "1.dkr.ecr.eu-central-1.amazonaws.com", "log_group": "/tidegate/encoders/proxy",
        "config_file": "proxy.toml", "config": base64.b64encode(b"threads = 2\n").decode(),
        "arguments": "--config /etc/tidegate/proxy.toml",
        "secrets": "worker.token=arn:worker api-keys=arn:keys",
    },
}


def render(name):
    """A template with its sample, as the module's templates are: nothing but `${name}` in them."""
    values = SAMPLES[name]
    text = (TEMPLATES / name).read_text()
    text = re.sub(r"(?<!\$)\$\{(\w+)\}", lambda found: str(values[found[1]]), text)
    return text.replace("$${", "${")


def terraform(directory, *words, text=None):
    # Without a config of the user's, which might name mirrors.
    environment = {**os.environ, "TF_CLI_CONFIG_FILE": os.devnull, "TF_IN_AUTOMATION": "1"}
    command = [CLI, f"-chdir={directory}", *words]
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=LIMIT, env=environment
    )


class Directory(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.directory = Path(held.name)


class Schema(unittest.TestCase):
    def test_every_block_and_argument_is_the_providers(self):
        for directory in (TERRAFORM, EXAMPLE):
            module = Module(directory)
            self.assertGreater(len(module.files), 2)
            self.assertEqual(module.faults(), [])

    def test_the_templates_are_given_what_they_name(self):
        files = "".join(path.read_text() for path in TERRAFORM.glob("*.tf"))
        for template in sorted(TEMPLATES.iterdir()):
            call = files.split(f"templates/{template.name}\", {{", 1)[1]
            given = set(re.findall(r"^\s+(\w+) += ", call.split("\n  })", 1)[0].split("\n    })", 1)[0], re.M))
            named = set(re.findall(r"(?<!\$)\$\{(\w+)\}", template.read_text()))
            self.assertEqual(given, named, template.name)
            self.assertEqual(named, SAMPLES[template.name].keys(), template.name)


class PlantedFaults(Directory):
    """The test of the test: each of these must be found."""

    def plant(self, file, old, new, expected):
        tree = self.directory / "terraform"
        shutil.copytree(TERRAFORM, tree, dirs_exist_ok=True)
        path = tree / file
        text = path.read_text()
        self.assertIn(old, text, f"{file} has nothing to plant a fault in")
        path.write_text(text.replace(old, new, 1))
        found = Module(path.parent).faults()
        self.assertTrue(any(expected in fault for fault in found), f"{expected!r} is not in {found}")

    def test_faults_are_found(self):
        for file, old, new, expected in [
            ("workers.tf", "protect_from_scale_in =", "protect_from_scalein =",
             "workers.tf: aws_autoscaling_group.workers: protect_from_scalein: no such argument or block"),
            ("workers.tf", "instance_type = override.value", "instance_typo = override.value",
             "override: instance_typo: no such argument or block"),
            ("workers.tf", "  metadata_options {", "  metadata_option {",
             "metadata_option: no such argument or block"),
            ("workers.tf", 'dynamic "warm_pool"', 'dynamic "warm_pond"',
             "warm_pond: no such argument or block"),
            ("workers.tf", "    content {\n      pool_state", "    contents {\n      pool_state",
             "dynamic warm_pool: content is missing"),
            ("workers.tf", "ignore_changes = [desired", "ignore_change = [desired",
             "lifecycle: no such key ignore_change"),
            ("workers.tf", "  min_size            = var.workers.min\n", "", "aws_autoscaling_group.workers: min_size is missing"),
            ("alarms.tf", "      stat        = \"Sum\"\n", "", "metric: stat is missing"),
            ("storage.tf", 'resource "aws_s3_bucket" "models"', 'resource "aws_s3_bukket" "models"',
             "aws_s3_bukket.models: no such resource"),
            ("network.tf", 'data "aws_vpc" "brought"', 'data "aws_vpcs_" "this"', "no such data"),
            ("balancer.tf", "  default_action {", "  default_action = {", "default_action: is a block, not an argument"),
            ("balancer.tf", "  default_action {\n    type             = \"forward\"", "  default_action {",
             "default_action: type is missing"),
            ("hosts.tf", "  tags                        = merge", "  tags {}\n  volume_tags = merge",
             "tags: is an argument, not a block"),
            ("hosts.tf", "vpc_security_group_ids      = [", "vpc_security_group_ids = \"a\"\n  secondary_private_ips = [",
             "'\"a\"' is no array"),
            ("hosts.tf", "local.proxies,", "local.proxy,", "hosts.tf: local.proxy is not declared"),
            ("scaler.tf", "var.slo.latency_ms", "var.slos.latency_ms", "scaler.tf: var.slos is not declared"),
            ("iam.tf", "aws_iam_role.role[each.key].id", "aws_iam_role.roles[each.key].id",
             "aws_iam_role.roles is not declared"),
            ("variables.tf", 'variable "tags" {', 'variable "idle" {\n  type = string\n}\n\nvariable "tags" {',
             "var.idle is not used"),
            ("examples/complete/main.tf", "alarm_emails = var", "alarm_mails = var", "no input alarm_mails"),
            ("examples/complete/main.tf", "  operator_token = var.operator_token\n", "", "operator_token is missing"),
            ("examples/complete/outputs.tf", "module.tidegate.url", "module.tidegate.uri", "has no output uri"),
        ]:
            with self.subTest(expected):
                self.plant(file, old, new, expected)


class Policy(Directory):
    def binary(self, name):
        return Path(os.environ["TIDEGATE_BIN"]) / name

    def check(self, command, file, text):
        path = self.directory / file
        path.write_text(text)
        return subprocess.run([*command, path], capture_output=True, text=True, timeout=LIMIT)

    def test_the_scaler_takes_the_policy_and_refuses_a_wrong_word(self):
        scaler = [self.binary("tidegate-scaler"), "check"]
        policy = render("policy.toml.tftpl") + "\n" + render("policy-lines.toml.tftpl")
        taken = self.check(scaler, "policy.toml", policy)
        self.assertEqual(taken.returncode, 0, taken.stderr)
        self.assertIn("1 to 12 workers by forecast", taken.stdout)
        refused = self.check(scaler, "policy.toml", policy.replace("launch_hook", "launch_hock"))
        self.assertEqual(refused.returncode, 78)
        self.assertIn("launch_hock", refused.stderr)

    def test_the_lines_go_below_a_policy_of_ones_own(self):
        own = '[fleet]\nkind = "asg"\nmin = 2\nmax = 5\n[slo]\nlatency = "1s"\n[forecast]\n'
        scaler = [self.binary("tidegate-scaler"), "check"]
        taken = self.check(scaler, "policy.toml", own + render("policy-lines.toml.tftpl"))
        self.assertEqual(taken.returncode, 0, taken.stderr)

    def test_the_proxy_takes_its_config(self):
        proxy = [self.binary("tidegate-proxy"), "--check", "--config"]
        taken = self.check(proxy, "proxy.toml", render("proxy.toml.tftpl"))
        self.assertEqual(taken.returncode, 0, taken.stderr)


class Boot(Directory):
    """What a machine runs when it starts, with stand-ins for what it calls."""

    def script(self):
        text = render("boot.sh.tftpl")
        for place in ("/etc/", "/usr/local/sbin/", "/var/lib/"):
            text = text.replace(place, f"{self.directory}{place}")
        return text

    def test_it_is_sound(self):
        script = self.directory / "boot.sh"
        script.write_text(render("boot.sh.tftpl"))
        for command in (["bash", "-n"], ["shellcheck"]):
            done = subprocess.run([*command, script], capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_secrets_reach_private_files_and_nothing_else(self):
        calls, bin_ = self.directory / "calls", self.directory / "bin"
        for place in ("bin", "etc/systemd/system", "usr/local/sbin", "etc/tidegate", "var/lib/tidegate"):
            (self.directory / place).mkdir(parents=True)
        for name in ("docker", "systemctl", "install", "chown", "dnf"):
            # A password is read to its end, as a pipe wants.
            self.stand_in(bin_ / name, f'echo {name} "$@" >>{calls}\n[ "$1" != login ] || cat >/dev/null')
        self.stand_in(
            bin_ / "aws",
            f'echo aws "$@" >>{calls}\ncase "$*" in *get-secret-value*arn:keys*) echo hash-of-a-key ;;'
            " *get-secret-value*) echo secret-token ;; *) echo password ;; esac",
        )
        path = f"{bin_}:{os.environ['PATH']}"
        script = self.directory / "boot.sh"
        script.write_text(self.script())
        secrets = self.directory / "usr/local/sbin/tidegate-secrets"
        for command in (["bash", script], [secrets]):
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LIMIT, env={"PATH": path}
            )
            self.assertEqual(done.returncode, 0, done.stderr)
        etc = self.directory / "etc/tidegate"
        for file, content in [
            ("worker.token", "secret-token\n"), ("api-keys", "hash-of-a-key\n"),
            ("proxy.toml", "threads = 2\n"),
        ]:
            self.assertEqual((etc / file).read_text(), content)
            self.assertEqual(stat.S_IMODE((etc / file).stat().st_mode), 0o600, file)
        self.assertEqual(len(list(etc.iterdir())), 3)
        said = calls.read_text() + self.script() + (self.directory / "etc/systemd/system/tidegate.service").read_text()
        self.assertNotIn("secret-token", said)
        self.assertNotIn("--password ", said)

    def stand_in(self, path, body):
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)


@unittest.skipUnless(CLI, "the terraform CLI is not installed")
class ByTheCli(Directory):
    def test_files_are_formatted(self):
        done = terraform(TERRAFORM, "fmt", "-check", "-recursive", "-diff")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_templates_are_rendered_as_these_tests_do(self):
        for name, values in SAMPLES.items():
            given = json.dumps(json.dumps(values)).replace("${", "$${")
            expression = f'jsonencode(templatefile("{TEMPLATES / name}", jsondecode({given})))\n'
            done = terraform(self.directory, "console", text=expression)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(json.loads(done.stdout)), render(name), name)

    def plan(self, **given):
        """Asks for the variables' validations alone, which needs no provider."""
        shutil.copy(TERRAFORM / "variables.tf", self.directory)
        values = {
            "model": {"key": "models/m", "sha256": "a" * 64, "name": "m"},
            "cost": {"price_per_hour": 0.2, "budget_per_hour": 2},
            "worker_token": "worker-token-for-tests", "operator_token": "operator-token-for-tests",
            **given,
        }
        (self.directory / "values.tfvars.json").write_text(json.dumps(values))
        done = terraform(self.directory, "plan", "-input=false", "-no-color", "-var-file=values.tfvars.json")
        return done.returncode, " ".join(re.sub("[│╷╵]", " ", done.stdout + done.stderr).split())

    def test_sound_values_are_taken(self):
        keys = self.directory / "keys"
        keys.write_text("a hash\n")
        arn = "arn:aws:acm:eu-central-1:123456789012:certificate/x"
        for given in [
            {},
            {"spot": {"share_percent": 80}, "workers": {"instance_types": ["a.large", "b.large"]}},
            {"warm_pool": {}},
            {"public": True, "certificate_arn": arn, "allowed_cidrs": ["203.0.113.0/24"], "api_keys_file": str(keys)},
        ]:
            code, said = self.plan(**given)
            self.assertEqual(code, 0, said)

    def test_what_excludes_each_other_or_is_out_of_bounds_is_refused(self):
        for given, expected in [
            ({"spot": {}, "warm_pool": {}}, "spot and warm_pool exclude each other"),
            ({"warm_pool": {}, "workers": {"instance_types": ["a.large", "b.large"]}}, "expected one instance type"),
            ({"public": True}, "public: expected certificate_arn, allowed_cidrs and api_keys_file as well"),
            ({"allowed_cidrs": ["everyone"]}, "allowed_cidrs: expected IPv4 blocks"),
            ({"workers": {"min": 3, "max": 2}}, "workers: expected 0 <= min <= max"),
            ({"model": {"key": "elsewhere/m", "sha256": "a" * 64, "name": "m"}}, "model.key: expected models/"),
            ({"model": {"key": "models/m", "sha256": "abc", "name": "m"}}, "model.sha256: expected 64"),
            ({"cost": {"price_per_hour": 0.2, "budget_per_hour": 0.1}}, "a budget for at least one worker"),
            ({"images": {"proxy": "a/b", "scaler": "a/b", "worker": "a/b"}}, "another registry needs network"),
            ({"vpc_cidr": "10.0.0.0/24"}, "vpc_cidr: expected an IPv4 block of /22 or larger"),
            ({"api_keys_file": "/nowhere/keys"}, "api_keys_file: there is no such file"),
        ]:
            with self.subTest(expected):
                code, said = self.plan(**given)
                self.assertNotEqual(code, 0)
                self.assertIn(expected, said)


if __name__ == "__main__":
    unittest.main()
