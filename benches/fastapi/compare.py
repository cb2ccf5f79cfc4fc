#!/usr/bin/env python3
"""Compares the ticket server with its original in FastAPI, both on one core under wrk.

    python3 -m venv VENV && VENV/bin/pip install -r benches/fastapi/requirements.txt
    cargo build --release -p example-server
    VENV/bin/python benches/fastapi/compare.py [--server PATH] [--rounds N] [--seconds N]

The servers run on core 0 and wrk on core 1, in turns. A round is 16 connections that read one
concert, and then 16 that buy tickets for it. Rates need a machine that does no other work. The CPU
time of a server is comparable on any machine, and its inverse is the rate of a core that waits for
nothing, not even for the disk. Ratios are those of the ticket server to its original.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONCERT = {
    "title": "Radiohead",
    "venue": "Tempodrom",
    "starts_at": "2030-01-01T20:00:00Z",
    "capacity": 10_000_000,
    "price": {"amount": 6500, "currency": "EUR"},
}
BUY = """
wrk.method = "POST"
wrk.body = '{"buyer": "ann", "quantity": 1}'
wrk.headers["content-type"] = "application/json"
"""


class Server:
    """A server process with one concert."""

    def __init__(self, name, command, port, folder, environment=None):
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(folder / f"{port}.log", "w")
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", *command],
            cwd=folder,
            env=os.environ | (environment or {}),
            stdout=self.log,
            stderr=self.log,
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.concert = self.create_concert()
                break
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > deadline or self.process.poll() is not None:
                    sys.exit(f"{name} does not respond, see {self.log.name}")
                time.sleep(0.1)
        if self.process.poll() is not None:
            sys.exit(f"{name} has ended, and something else responds on its port, see {self.log.name}")

    def create_concert(self):
        body = json.dumps(CONCERT).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/concerts", body, headers)
        with urllib.request.urlopen(request) as response:
            return json.load(response)["id"]

    def cpu_time(self):
        """Returns the CPU time of all threads in seconds."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def measure(self, path, seconds, script=None):
        """Returns the requests per second and the CPU time of each in microseconds."""
        before = self.cpu_time()
        command = ["taskset", "-c", "1", "wrk", "-t1", "-c16", f"-d{seconds}s", "--timeout", "10s"]
        if script:
            command += ["-s", script]
        output = subprocess.run(
            [*command, f"{self.url}/concerts/{self.concert}{path}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        spent = self.cpu_time() - before
        if "Non-2xx" in output or "Socket errors" in output:
            sys.exit(f"{self.name}: not all requests succeeded:\n{output}")
        lines = [line.split() for line in output.splitlines()]
        requests = next(int(line[0]) for line in lines if line[1:3] == ["requests", "in"])
        rate = next(float(line[1]) for line in lines if line[:1] == ["Requests/sec:"])
        return rate, spent / requests * 1e6

    def stop(self):
        self.process.terminate()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = HERE.parents[1] / "target/release/example-server"
    parser.add_argument("--server", default=default, type=Path)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--seconds", default=4, type=int)
    parser.add_argument("--port", default=28080, type=int, help="the first of three ports")
    arguments = parser.parse_args()
    for program in ("wrk", "taskset"):
        if shutil.which(program) is None:
            sys.exit(f"skipped: {program} is not installed")
    if not arguments.server.exists():
        sys.exit(f"{arguments.server} does not exist: cargo build --release -p example-server")

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        script = folder / "buy.lua"
        script.write_text(BUY)
        port = arguments.port
        uvicorn = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "app:app"]
        serve = [str(arguments.server.resolve()), "serve", "--database-url", "sqlite://tickets.db"]
        listen = ["--listen", f"127.0.0.1:{port}", "--ops-listen", f"127.0.0.1:{port + 1}"]
        servers = [
            Server("FastAPI", [*uvicorn, "--port", str(port + 2), "--no-access-log"], port + 2, folder),
            Server("ticket server", [*serve, *listen], port, folder),
        ]
        try:
            compare(servers, arguments, str(script))
        finally:
            for server in servers:
                server.stop()


def compare(servers, arguments, script):
    kinds = {"reads": ("", None), "purchases": ("/purchases", script)}
    measured = {(kind, server.name): [] for kind in kinds for server in servers}
    for _ in range(arguments.rounds):
        for kind, (path, lua) in kinds.items():
            for server in servers:
                result = server.measure(path, arguments.seconds, lua)
                measured[kind, server.name].append(result)
    print(f"medians of {arguments.rounds} rounds in turns, load {os.getloadavg()[0]:.1f}\n")
    print(f"{'':<26}{'requests/s':>12}{'ratio':>7}{'CPU us each':>13}{'per core-second':>17}{'ratio':>7}")
    for kind in kinds:
        base = None
        for server in servers:
            rate, cpu = map(statistics.median, zip(*measured[kind, server.name]))
            base = base or (rate, cpu)
            name = f"{kind}, {server.name}"
            rates = f"{rate:>12,.0f}{rate / base[0]:>7.1f}"
            print(f"{name:<26}{rates}{cpu:>13.1f}{1e6 / cpu:>17,.0f}{base[1] / cpu:>7.1f}")


if __name__ == "__main__":
    main()
