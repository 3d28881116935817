"""Plans and applies of the module by the terraform CLI, with a stand-in for the provider.

Skipped where the terraform CLI is not installed. Run by `make test-terraform`.
"""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from provider import Serving

ROOT = Path(__file__).resolve().parents[2]
TERRAFORM = ROOT / "terraform"
CLI = shutil.which("terraform")
LIMIT = 120

VALUES = {
    "model": {"key": "models/m", "sha256": "a" * 64, "name": "m"},
    "cost": {"price_per_hour": 0.2, "budget_per_hour": 2},
    "worker_token": "worker-token-for-tests", "operator_token": "operator-token-for-tests",
}
CERTIFICATE = "arn:aws:acm:eu-central-1:123456789012:certificate/x"
NETWORK = {
    "vpc_id": "vpc-1", "private_subnet_ids": ["subnet-1"], "load_balancer_subnet_ids": ["subnet-2", "subnet-3"],
}
IMAGES = {role: f"registry.example/{role}:v1" for role in ("proxy", "scaler", "worker")}

# A root module that makes the VPC in the plan that brings it to the module.
NEW_NETWORK = """
resource "aws_vpc" "mine" { cidr_block = "10.0.0.0/16" }
resource "aws_subnet" "mine" {
  count      = 2
  vpc_id     = aws_vpc.mine.id
  cidr_block = cidrsubnet(aws_vpc.mine.cidr_block, 4, count.index)
}
variable "worker_token" { ephemeral = true }
variable "operator_token" { ephemeral = true }
module "tidegate" {
  source         = "./terraform"
  model          = { key = "models/m", sha256 = "%s", name = "m" }
  cost           = { price_per_hour = 0.2, budget_per_hour = 2 }
  worker_token   = var.worker_token
  operator_token = var.operator_token
  network = {
    vpc_id                   = aws_vpc.mine.id
    private_subnet_ids       = aws_subnet.mine[*].id
    load_balancer_subnet_ids = aws_subnet.mine[*].id
  }
}
""" % ("a" * 64)


@unittest.skipUnless(CLI, "the terraform CLI is not installed")
class Plans(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.serving = Serving()
        cls.serving.__enter__()
        cls.addClassCleanup(cls.serving.__exit__)

    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.tree = Path(held.name) / "terraform"
        shutil.copytree(TERRAFORM, self.tree)

    def terraform(self, directory, *words):
        environment = {
            **os.environ, **self.serving.environment, "TF_CLI_CONFIG_FILE": os.devnull, "TF_IN_AUTOMATION": "1",
        }
        return subprocess.run(
            [CLI, f"-chdir={directory}", *words], capture_output=True, text=True, timeout=LIMIT, env=environment
        )

    def run_with(self, command, values, directory=None):
        directory = directory or self.tree
        if not (directory / ".terraform").exists():
            begun = self.terraform(directory, "init", "-input=false")
            self.assertEqual(begun.returncode, 0, begun.stderr)
        (directory / "values.tfvars.json").write_text(json.dumps(values))
        return self.terraform(directory, *command, "-input=false", "-no-color", "-var-file=values.tfvars.json")

    def plan(self, values, directory=None):
        """Address to actions of every change, of a plan that must succeed."""
        directory = directory or self.tree
        done = self.run_with(["plan", "-out=plan"], values, directory)
        self.assertEqual(done.returncode, 0, done.stderr)
        shown = self.terraform(directory, "show", "-json", "plan")
        changes = json.loads(shown.stdout)["resource_changes"]
        return {change["address"]: change["change"]["actions"] for change in changes}

    def raise_lead_time(self):
        """What a plan does to a group whose lead time is raised."""
        applied = self.run_with(["apply", "-auto-approve"], VALUES)
        self.assertEqual(applied.returncode, 0, applied.stderr)
        changes = self.plan({**VALUES, "workers": {"lead_time_seconds": 400}})
        return {address: actions for address, actions in changes.items() if actions != ["no-op"]}

    def test_a_first_plan_succeeds_with_the_defaults_and_each_alternative(self):
        keys = self.tree / "keys"
        keys.write_text("a hash\n")
        spot = {"spot": {"share_percent": 80}, "workers": {"instance_types": ["a.large", "b.large"]}}
        public = {
            "public": True, "certificate_arn": CERTIFICATE, "allowed_cidrs": ["203.0.113.0/24"],
            "api_keys_file": str(keys),
        }
        queue, workspace = "arn:aws:sqs:eu-central-1:123456789012:jobs", "arn:aws:aps:eu-central-1:123456789012:workspace/ws-1"
        sources = {"sqs_queue_arns": [queue], "cloudwatch": True, "prometheus_workspace_arns": [workspace]}
        for given, made in [
            ({}, "aws_vpc.this[0]"),
            (spot, "aws_autoscaling_group.workers"),
            ({"warm_pool": {}}, "aws_autoscaling_group.workers"),
            (public, "aws_internet_gateway.this[0]"),
            ({"network": NETWORK}, "aws_lb.this"),
            ({"network": NETWORK, "images": IMAGES}, "aws_lb.this"),
            ({"sources": sources}, 'aws_vpc_endpoint.interface["sqs"]'),
            ({"zones": 4, "proxies": {"count": 3}, "scalers": {"count": 1}}, 'aws_subnet.this["private-eu-central-1d"]'),
            ({"ami_id": "ami-0123456789abcdef0", "alarm_emails": ["ops@example.com"]}, "aws_sns_topic.alarms"),
        ]:
            with self.subTest(given):
                changes = self.plan({**VALUES, **given})
                self.assertEqual(changes.get(made), ["create"])

    def test_the_example_is_planned(self):
        keys = self.tree / "keys"
        keys.write_text("a hash\n")
        values = {
            "model_sha256": "a" * 64, "price_per_hour": 0.2, "certificate_arn": CERTIFICATE,
            "allowed_cidrs": ["203.0.113.0/24"], "api_keys_file": str(keys),
            "worker_token": VALUES["worker_token"], "operator_token": VALUES["operator_token"],
        }
        changes = self.plan(values, self.tree / "examples" / "complete")
        self.assertEqual(changes["module.tidegate.aws_autoscaling_group.workers"], ["create"])

    def test_a_network_may_be_made_by_the_same_plan(self):
        root = self.tree.parent
        (root / "main.tf").write_text(NEW_NETWORK)
        tokens = {name: VALUES[name] for name in ("worker_token", "operator_token")}
        changes = self.plan(tokens, root)
        self.assertEqual(changes['module.tidegate.aws_vpc_security_group_ingress_rule.clients["vpc"]'], ["create"])

    def test_raising_the_lead_time_changes_the_hook_and_keeps_the_group(self):
        changes = self.raise_lead_time()
        self.assertEqual(changes.get('aws_autoscaling_lifecycle_hook.workers["model-answers"]'), ["update"])
        replaced = [address for address, actions in changes.items() if "delete" in actions]
        # The policy is in the scalers' user data, so that they start anew with it.
        self.assertEqual([address for address in replaced if "aws_instance.host" not in address], [])

    def plant(self, file, old, new):
        path = self.tree / file
        text = path.read_text()
        self.assertIn(old, text, f"{file} has nothing to plant a fault in")
        path.write_text(text.replace(old, new, 1))

    def test_keys_that_no_plan_knows_are_found(self):
        self.plant("security.tf", "{ vpc = local.vpc_cidr }", "{ for id in aws_vpc.this[*].id : id => id }")
        done = self.run_with(["plan"], VALUES)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Invalid for_each argument", done.stderr)

    def test_hooks_in_the_group_are_found_by_its_replacement(self):
        self.plant("workers.tf", '  dynamic "tag" {', """  initial_lifecycle_hook {
    name                 = "planted"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    heartbeat_timeout    = local.hooks[local.launch_hook].seconds
  }

  dynamic "tag" {""")
        self.plant("workers.tf", "[desired_capacity, initial_lifecycle_hook]", "[desired_capacity]")
        self.assertEqual(self.raise_lead_time().get("aws_autoscaling_group.workers"), ["delete", "create"])


if __name__ == "__main__":
    unittest.main()
