"""A machine for the documents: a directory that stands for the checkout, ports of its own on loopback,
and the paths below /etc and /var moved into that directory. Nothing else of a command is changed. The service
of README.md keeps its ledger where an installation has it, so that pages about ledgers have one.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from blocks import FIRST, ROOT

PATIENCE = 120
PORTS = [8080, 8081, 8090, 8091, 9090, 9091]
MOVED = ["/etc/tidegate", "/var/lib/tidegate", "/var/log/tidegate"]


def free_ports(number):
    held = [socket.socket() for _ in range(number)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Machine:
    def __init__(self, binaries, python, target):
        self.held = tempfile.TemporaryDirectory(prefix="documents-")
        self.root = Path(self.held.name)
        self.ports = {}
        self.renew_ports()
        self.binaries, self.python, self.target = Path(binaries), python, target
        self.daemons = []
        for path in MOVED:
            (self.root / path[1:]).mkdir(parents=True)
        (self.root / "tmp").mkdir()
        # curl says nothing of the way, and fails where the answer is a refusal.
        (self.root / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")

    def renew_ports(self):
        """For a page that starts daemons of its own beside those that run."""
        self.ports = dict(zip(PORTS, free_ports(len(PORTS))))

    def close(self):
        self.end_daemons(0)
        self.held.cleanup()

    def checkout(self, page):
        """A directory with what a clone has, whose configs name this machine's ports and paths."""
        directory = self.root / page.replace("/", "-")
        directory.mkdir()
        for name in ["models", "tests", "terraform", "docs", "scaler"]:
            (directory / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "configs", directory / "configs", ignore=shutil.ignore_patterns("*.rs"))
        for config in directory.glob("configs/**/*"):
            if config.suffix in {".toml", ".service", ".yaml", ".yml"}:
                config.write_text(self.moved(config.read_text()))
        for name in ["up.toml", "up-chat.toml"]:
            with open(directory / "configs" / name, "a") as config:
                config.write(f'[scaler]\nlisten = "127.0.0.1:{self.ports[9091]}"\n')
                if name == "up.toml" and page == FIRST[0]:
                    config.write(f'ledger = "{self.root}/var/lib/tidegate/ledger.jsonl"\n')
        (directory / "Makefile").write_text((ROOT / "Makefile").read_text())
        return directory

    def moved(self, text):
        for port, own in self.ports.items():
            text = re.sub(rf"(127\.0\.0\.1|localhost):{port}\b", rf"\1:{own}", text)
        for path in MOVED:
            text = text.replace(path, f"{self.root}{path}")
        return text

    def environment(self):
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TIDEGATE_", "MAKE"))},
            "PATH": f"{self.binaries}:{Path(self.python).parent}:{os.environ['PATH']}",
            "CARGO": "true", "CARGO_TARGET_DIR": str(self.target), "YES": "1",
            "TIDEGATE_LISTEN": f"127.0.0.1:{self.ports[8090]}", "HOME": str(self.root), "TMPDIR": str(self.root / "tmp"), "NO_COLOR": "1",
            "AWS_ACCESS_KEY_ID": "documents", "AWS_SECRET_ACCESS_KEY": "documents",
            "AWS_DEFAULT_REGION": "eu-central-1", "AWS_EC2_METADATA_DISABLED": "true",
        }

    def run(self, words, directory, limit=PATIENCE):
        """Exit code and output. The whole process group ends with it."""
        process = subprocess.Popen(
            words, cwd=directory, env=self.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            end_group(process, signal.SIGKILL)
            return None, process.communicate()[0]
        return process.returncode, output

    def start(self, words, directory, url):
        """A daemon, once its URL answers with 200."""
        log = open(directory / f"daemon-{len(self.daemons)}.log", "w+")
        process = subprocess.Popen(
            words, cwd=directory, env=self.environment(), stdin=subprocess.DEVNULL,
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )
        self.daemons.append((process, log))
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and process.poll() is None:
            if answers(url):
                return None
            time.sleep(0.1)
        log.flush()
        return Path(log.name).read_text()

    def end_daemons(self, first):
        """All that were started from `first` on, the latest first."""
        for process, log in reversed(self.daemons[first:]):
            end_group(process, signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                end_group(process, signal.SIGKILL)
                process.wait()
            log.close()
        del self.daemons[first:]


def end_group(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
