"""Prometheus against the real daemons: what they export, what the rules and the dashboard ask for,
and alerts that fire on planted faults.

Run by `make test-prometheus`. TIDEGATE_BIN is where the binaries are, PROMETHEUS where prometheus and promtool are.
"""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ["TIDEGATE_BIN"])
TOOLS = Path(os.environ["PROMETHEUS"])
RULES = [ROOT / "configs/prometheus/rules.yml", ROOT / "configs/prometheus/alerts.yml"]
DASHBOARD = ROOT / "configs/grafana/tidegate.json"
PATIENCE = 60

POLICY = """
[fleet]
kind = "process"
min = 1
max = 2
lead_time = "30s"
[slo]
latency = "2s"
[cost]
price_per_hour = 0.2
[[signal]]
name = "requests"
metric = "concurrency"
statistic = "mean"
window = "5s"
target_per_worker = 2
[process]
model = '{directory}/timed'
binary = '{bin}/timed-worker'
oversubscribe = true
[scaler]
listen = '{scaler}'
[up]
listen = '{clients}'
admin = '{admin}'
proxy_config = '{directory}/proxy.toml'
"""


def free():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{held.getsockname()[1]}"


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def eventually(what, probe):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            found = probe()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {PATIENCE} s: {what}")


class Watching(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        held = tempfile.TemporaryDirectory()
        cls.addClassCleanup(held.cleanup)
        cls.directory = Path(held.name)
        cls.clients, cls.admin, cls.scaler, cls.worker, cls.web = (free() for _ in range(5))
        (cls.directory / "timed").mkdir()
        (cls.directory / "proxy.toml").write_text("threads = 1\n")
        policy = POLICY.format(
            directory=cls.directory, bin=BIN, scaler=cls.scaler, clients=cls.clients, admin=cls.admin
        )
        (cls.directory / "up.toml").write_text(policy)
        environment = {**os.environ, "TMPDIR": held.name}
        cls.start("scaler", [BIN / "tidegate-scaler", "up", "--config", cls.directory / "up.toml"], environment)
        eventually("clients are answered", cls.ask)
        cls.start("worker", [
            BIN / "tidegate-worker", "serve", "--model", os.environ["MODEL"], "--listen", cls.worker,
        ])
        eventually("the worker answers", lambda: cls.post(f"http://{cls.worker}/embed", {"inputs": "x"}))
        cls.start_prometheus()

    @classmethod
    def start(cls, name, command, environment=None):
        with open(cls.directory / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [str(word) for word in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
            )

        def end():
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        cls.addClassCleanup(end)
        return process

    @classmethod
    def start_prometheus(cls):
        """With the project's rules, whose waits are cut so that an alert fires within seconds."""
        names = []
        for path in RULES:
            text = re.sub(r"\bfor: \w+", "for: 1s", path.read_text())
            text = re.sub(r"\[(1|5)m\]", "[10s]", text)
            names.append(cls.directory / path.name)
            names[-1].write_text(text)
        jobs = {"tidegate-proxy": cls.admin, "tidegate-scaler": cls.scaler, "tidegate-worker": cls.worker}
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(name) for name in names],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in jobs.items()
            ],
        }
        # JSON is YAML.
        (cls.directory / "prometheus.yml").write_text(json.dumps(config))
        cls.start("prometheus", [
            TOOLS / "prometheus", f"--config.file={cls.directory}/prometheus.yml",
            f"--storage.tsdb.path={cls.directory}/data", f"--web.listen-address={cls.web}",
        ])
        eventually("every daemon is scraped", lambda: len(cls.query("up == 1")) == len(jobs))

    @classmethod
    def ask(cls):
        return cls.post(f"http://{cls.clients}/v1/embeddings", {"input": "x"})

    @staticmethod
    def post(url, body):
        request = urllib.request.Request(url, json.dumps(body).encode())
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status == 200

    @classmethod
    def query(cls, expression):
        asked = urllib.parse.urlencode({"query": expression})
        answer = json.loads(get(f"http://{cls.web}/api/v1/query?{asked}"))
        return answer["data"]["result"]

    def firing(self, alert):
        return self.query(f'ALERTS{{alertname="{alert}", alertstate="firing"}}')

    def test_promtool_finds_nothing_to_say(self):
        for daemon, address in (("proxy", self.admin), ("scaler", self.scaler), ("worker", self.worker)):
            with self.subTest(daemon):
                self.lint(get(f"http://{address}/metrics"))
        done = subprocess.run([TOOLS / "promtool", "check", "rules", *RULES], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_alerts_tell_several_fleets_apart(self):
        tests = Path(__file__).parent / "fleets.yml"
        done = subprocess.run([TOOLS / "promtool", "test", "rules", tests], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def lint(self, metrics):
        done = subprocess.run(
            [TOOLS / "promtool", "check", "metrics"], input=metrics, capture_output=True, text=True
        )
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_every_series_of_rules_and_dashboard_is_exported(self):
        panels = json.loads(DASHBOARD.read_text())["panels"]
        asked = [target["expr"] for panel in panels for target in panel.get("targets", [])]
        asked += [path.read_text() for path in RULES]
        names = set(re.findall(r"\b(tidegate_\w+)(?=[{\[)\s])", " ".join(asked)))
        self.assertGreater(len(names), 20)
        # What is exported only while it applies.
        sometimes = {
            "tidegate_scaler_capacity_unavailable", "tidegate_scaler_failed_starts_total",
            "tidegate_scaler_source_up", "tidegate_retries_total",
        }
        found = set(json.loads(get(f"http://{self.web}/api/v1/label/__name__/values"))["data"])
        self.assertEqual(names - sometimes - found, set())
        documented = (ROOT / "docs/metrics.md").read_text()
        base = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
        self.assertEqual({name for name in base if name not in documented}, set())

    def test_every_query_of_the_dashboard_is_understood(self):
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            for target in panel.get("targets", []):
                with self.subTest(panel["title"]):
                    expression = target["expr"].replace("$__rate_interval", "10s").replace("$model", ".*")
                    query = lambda: self.busy() and self.query(expression)
                    # Nothing has failed here, and nothing was moved.
                    if panel["title"] in ("Retries", "Error share"):
                        self.query(expression)
                    else:
                        eventually(expression, query)

    def busy(self):
        return self.ask() and self.post(f"http://{self.worker}/embed", {"inputs": "x"})

    def test_recording_rules_give_values(self):
        recorded = re.findall(r"record: (\S+)", RULES[0].read_text())
        self.assertGreater(len(recorded), 5)
        for name in recorded:
            with self.subTest(name):
                if name != "model:tidegate_errors:ratio5m":
                    eventually(name, lambda: self.ask() and self.query(name))

    def test_alerts_fire_on_planted_faults_and_only_then(self):
        for alert in ("TidegateProxyDown", "TidegateScalerSeesNoProxy", "TidegateScalerSilent"):
            # A rate needs two scrapes.
            eventually(f"{alert} is silent", lambda: not self.firing(alert))
        proxy = self.process("tidegate-proxy")
        os.kill(proxy, signal.SIGSTOP)
        try:
            eventually("the proxy's alert", lambda: self.firing("TidegateProxyDown"))
            eventually("the scaler's alert", lambda: self.firing("TidegateScalerSeesNoProxy"))
        finally:
            os.kill(proxy, signal.SIGCONT)
        eventually("the proxy is back", lambda: not self.firing("TidegateProxyDown"))
        scaler = self.process("tidegate-scaler")
        os.kill(scaler, signal.SIGSTOP)
        try:
            eventually("the silent scaler's alert", lambda: self.firing("TidegateScalerSilent"))
        finally:
            os.kill(scaler, signal.SIGCONT)

    def process(self, name):
        """The process of this test's own `up`."""
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                environment = (entry / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if words[0].endswith(name) and f"TMPDIR={self.directory}" in environment:
                return int(entry.name)
        self.fail(f"no process {name}")


if __name__ == "__main__":
    unittest.main()
