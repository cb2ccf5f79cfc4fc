#!/usr/bin/env python3
"""Compares the request counts of Locust, the server and Prometheus.

    compare.py --counts counts.json --metrics http://127.0.0.1:9464/metrics --prometheus http://127.0.0.1:9090

`--counts` is the file that locustfile.py writes to LOCUST_COUNTS. Repeat `--metrics` for each server. The script waits
until no request is in flight and Prometheus has completed another scrape, and then prints the counts by method, route
and status. The server counts from its start, so restart it before the run.

Exit status: 0 if all counts are equal, 1 if any differ, 2 if a source cannot be read. Requires Python 3.10.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

Row = tuple[str, str, str]  # method, route, status
COUNT = "http_server_request_duration_seconds_count"
IN_FLIGHT = "http_server_active_requests"
LABELS = ("http_request_method", "http_route", "http_response_status_code")
SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class SourceError(Exception):
    """A source of counts could not be read."""


def get(url: str) -> str:
    """Returns the body of a successful response."""
    try:
        with urlopen(url, timeout=10) as response:
            return response.read().decode()
    except (OSError, ValueError) as error:
        raise SourceError(f"{url}: {error}") from error


def samples(text: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Yields labels and value of each sample of a metric in a text exposition."""
    unescape = {r"\n": "\n", r"\\": "\\", r"\"": '"'}
    for line in text.splitlines():
        if (match := SAMPLE.match(line)) and match[1] == name:
            pairs = LABEL.findall(match[2] or "")
            yield {key: re.sub(r"\\.", lambda m: unescape[m[0]], value) for key, value in pairs}, float(match[3])


def row_key(labels: dict[str, str]) -> Row:
    """Returns method, route and status; a missing label is an empty string."""
    method, route, status = (labels.get(label, "") for label in LABELS)
    return method, route, status


def wait_until(condition: Callable[[], bool], description: str, deadline: float) -> None:
    """Polls `condition` until it holds. Raises SourceError at the deadline."""
    while not condition():
        if time.time() > deadline:
            raise SourceError(f"timed out waiting until {description}")
        time.sleep(0.2)


def locust_counts(file: Path) -> Counter[Row]:
    try:
        rows = json.loads(file.read_text("utf-8"))
        return Counter({(r["method"], r["route"], str(r["status"])): r["count"] for r in rows})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{file}: {error!r}") from error


def server_counts(urls: list[str], deadline: float) -> Counter[Row]:
    texts: list[str] = []

    def idle() -> bool:
        texts[:] = map(get, urls)
        return sum(value for text in texts for _, value in samples(text, IN_FLIGHT)) == 0

    wait_until(idle, "no request is in flight", deadline)
    counts: Counter[Row] = Counter()
    for text in texts:
        for labels, value in samples(text, COUNT):
            counts[row_key(labels)] += int(value)
    return counts


def prometheus_counts(url: str, job: str, deadline: float) -> Counter[Row]:
    def query(expression: str) -> list[tuple[dict[str, str], float]]:
        response = json.loads(get(f"{url.rstrip('/')}/api/v1/query?{urlencode({'query': expression})}"))
        return [(series["metric"], float(series["value"][1])) for series in response["data"]["result"]]

    now = time.time()

    def scraped() -> bool:
        # timestamp() of a plain selector is the time of the scrape; of any other expression it is that of the query.
        times = [value for _, value in query(f'timestamp(up{{job="{job}"}})')]
        up = [value for _, value in query(f'up{{job="{job}"}}')]
        return bool(times) and min(times) > now and min(up) == 1

    wait_until(scraped, f"Prometheus has scraped the job {job!r} again", deadline)
    by = ", ".join(LABELS)
    return Counter({row_key(labels): int(value) for labels, value in query(f'sum by ({by}) ({COUNT}{{job="{job}"}})')})


def print_table(columns: dict[str, Counter[Row]]) -> bool:
    """Prints the counts side by side. Returns whether they are equal."""
    # Ignores series that were initialized to zero: the client does not know about them.
    rows = sorted({row for counts in columns.values() for row, count in counts.items() if count})
    shown = [(method, route or "(none)", status or "(none)") for method, route, status in rows]
    lines = [[*key, *(str(counts[row]) for counts in columns.values())] for key, row in zip(shown, rows)]
    equal = [len({counts[row] for counts in columns.values()}) == 1 for row in rows]
    lines.append(["total", "", "", *(str(counts.total()) for counts in columns.values())])
    equal.append(all(equal))
    head = ["method", "route", "status", *columns]
    widths = [max(len(line[index]) for line in [head, *lines]) for index in range(len(head))]
    for line, mark in zip([head, *lines], ["", *("" if same else "  <- differs" for same in equal)]):
        texts = [cell.ljust(width) for cell, width in zip(line[:3], widths)]
        numbers = [cell.rjust(width) for cell, width in zip(line[3:], widths[3:])]
        print("  ".join([*texts, *numbers]) + mark)
    if not rows:
        print("no requests were recorded")
    return bool(rows) and all(equal)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=Path, required=True, help="file that locustfile.py wrote to LOCUST_COUNTS")
    parser.add_argument("--metrics", action="append", required=True, help="URL of a server's /metrics; repeatable")
    parser.add_argument("--prometheus", required=True, help="URL of Prometheus")
    parser.add_argument("--job", default="example-server", help="Prometheus job of the servers (default: example-server)")
    parser.add_argument("--timeout", type=float, default=60, help="maximum wait in seconds (default: 60)")
    options = parser.parse_args()
    deadline = time.time() + options.timeout
    try:
        equal = print_table({
            "Locust": locust_counts(options.counts),
            "/metrics": server_counts(options.metrics, deadline),
            "Prometheus": prometheus_counts(options.prometheus, options.job, deadline),
        })
    except SourceError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 2
    print("all counts are equal" if equal else "the counts differ")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
