"""Simulated users of the ticket platform: buyers, one promoter and a few scanners.

    locust -f locustfile.py --headless -u 50 -r 10 -t 60s --stop-timeout 30 --host http://127.0.0.1:8080

Requests are named after the server's route templates, so Locust's statistics, `/metrics` and the dashboards show the
same rows. A declined payment (402) and a sold-out concert (409) are expected: they are counted by status but are not
failures. Every other unexpected status, a connection error and a truncated body are failures. They abort the task
that sent the request, and the user backs off before its next request: at least for the response's `Retry-After`, and
exponentially while failures continue. A failing server therefore receives less load, not more.

With `--stop-timeout`, users finish their current task when the run ends, so no request is cut off.

Environment:
    ADMIN_TOKEN: bearer token for `POST /concerts`, where the server requires one.
    LOCUST_COUNTS: file that receives the number of requests by method, route and status when Locust quits, for
        compare.py.
"""

import json
import logging
import os
import random
import time
import uuid
from collections import Counter
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path

from locust import FastHttpUser, between, constant, events, task
from locust.exception import CatchResponseError, RescheduleTask, StopUser
from locust.runners import WorkerRunner

CONCERTS = "/concerts"
CONCERT = "/concerts/{concert_id}"
PURCHASES = "/concerts/{concert_id}/purchases"
PURCHASE = "/purchases/{purchase_id}"
# Requests without a matching route; the server reports them with an empty `http_route`.
UNMATCHED = "(unmatched)"

# Seconds. The back-off doubles from the first to the second value.
MIN_BACKOFF = 1
MAX_BACKOFF = 30
# Longest `Retry-After` that is honored, so that one bad header does not stop a user for the rest of the run.
MAX_RETRY_AFTER = 120
# Attempts to place one order, including the first.
MAX_ATTEMPTS = 2

request_counts: Counter[tuple[str, str, int]] = Counter()


@events.request.add_listener
def count_request(request_type, name, response, **_):
    """Counts a request by its status, or 0 if there was no response."""
    request_counts[request_type, name, getattr(response, "status_code", 0) or 0] += 1


@events.report_to_master.add_listener
def report_counts(data, **_):
    """Adds a worker's counts to its report and resets them."""
    data["request_counts"] = [[*key, number] for key, number in request_counts.items()]
    request_counts.clear()


@events.worker_report.add_listener
def merge_counts(data, **_):
    """Adds the counts of a worker's report to the master's."""
    for method, name, status, number in data.get("request_counts", ()):
        request_counts[method, name, status] += number


@events.quitting.add_listener
def write_counts(environment, **_):
    """Writes the counts to the file that LOCUST_COUNTS names."""
    file = os.environ.get("LOCUST_COUNTS")
    if file and not isinstance(environment.runner, WorkerRunner):
        rows = [
            {"method": method, "route": "" if name == UNMATCHED else name, "status": status, "count": number}
            for (method, name, status), number in sorted(request_counts.items())
        ]
        Path(file).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


class RequestFailed(RescheduleTask):
    """An unexpected status (`status` is 0 without a response). Ends the current task if it is not handled."""

    def __init__(self, status):
        super().__init__(f"unexpected status {status}")
        self.status = status

    def is_transient(self):
        """Returns whether the same request may succeed later: no response, 408, 429 or a server error."""
        return self.status in (0, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or self.status >= 500


def retry_after(headers):
    """Returns the seconds of a `Retry-After` header, a number or an HTTP date; 0 without a valid one."""
    text = ((headers or {}).get("retry-after") or "").strip()
    try:
        if text.isascii() and text.isdigit():
            seconds = int(text)
        else:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (OverflowError, TypeError, ValueError):
        return 0
    return min(max(seconds, 0), MAX_RETRY_AFTER)


class TicketUser(FastHttpUser):
    """Base class that sends requests, checks their status, and backs off after failures."""

    abstract = True
    # Longer than the server's request timeout (10 s by default): the server responds with 504 before the client gives up.
    connection_timeout = 30
    network_timeout = 30

    def __init__(self, environment):
        super().__init__(environment)
        self.consecutive_failures = 0
        self.backoff = 0
        # Concerts are listed oldest first. The cursor skips the leading pages that were sold out when last read.
        self.first_cursor = None

    def wait_time(self):
        """Returns the think time, or the back-off if that is longer."""
        return max(self.think_time(), self.backoff)

    def send(self, method, path, name, expected, **options):
        """Sends one request and returns the status and the decoded JSON body of an expected response.

        Raises `RequestFailed` for any status outside `expected`, after setting the back-off.
        """
        with self.client.request(method, path, name=name, catch_response=True, **options) as response:
            status = response.status_code
            try:
                if status not in expected:
                    raise CatchResponseError(f"status {status}")
                body = response.json() if response.content else None
            except Exception as error:
                # Without a status, the response has the connection error of the client.
                response.failure(error if status else getattr(response, "error", None) or error)
                self.record_failure(response.headers)
                failed = RequestFailed(status)
            else:
                response.success()
                self.consecutive_failures = self.backoff = 0
                return status, body
        raise failed

    def record_failure(self, headers):
        """Sets the back-off before the next request: `Retry-After`, plus an exponential delay with jitter."""
        limit = min(MAX_BACKOFF, MIN_BACKOFF * 2**self.consecutive_failures)
        self.consecutive_failures = min(self.consecutive_failures + 1, 16)
        # Jitter of the upper half only, so that the delay grows without a `Retry-After` as well.
        self.backoff = retry_after(headers) + random.uniform(limit / 2, limit)

    def pages(self):
        """Yields the pages of `GET /concerts`. Raises `RequestFailed` if one cannot be read."""
        cursor = self.first_cursor
        while True:
            query = f"?limit=20&cursor={cursor}" if cursor else "?limit=20"
            _, page = self.send("GET", CONCERTS + query, CONCERTS, {HTTPStatus.OK})
            concerts, next_cursor = page["items"], page["next_cursor"]
            yield concerts
            if not next_cursor:
                return
            if cursor == self.first_cursor and not any(concert["available"] for concert in concerts):
                self.first_cursor = next_cursor
            cursor = next_cursor


class Buyer(TicketUser):
    """Browses concerts, buys tickets, views purchases, and sometimes asks for a refund."""

    weight = 30
    think_time = between(0.2, 1.5)

    def on_start(self):
        self.name = f"buyer-{uuid.uuid4()}"
        self.concerts = []
        self.purchases = []

    def choose_concert(self):
        """Returns a concert with tickets left, or None. The first of the list is the most popular."""
        on_sale = [concert for concert in self.concerts if concert["available"] > 0]
        return on_sale[min(int(random.expovariate(0.7)), len(on_sale) - 1)] if on_sale else None

    @task(4)
    def browse(self):
        concerts = []
        for page in self.pages():
            concerts += page
            self.concerts = concerts
            # Some read on; all do while everything so far is sold out.
            if self.choose_concert() and random.random() >= 0.2:
                break
        if concert := self.choose_concert():
            self.view_concert(concert)

    @task(6)
    def buy(self):
        concert = self.choose_concert()
        if concert is None:
            return self.browse()
        if random.random() < 0.5:
            self.view_concert(concert)
        order = {"buyer": self.name, "quantity": random.choices((1, 2, 3, 4), (2, 6, 1, 2))[0]}
        # The key makes a second attempt safe, even after a response that leaves the outcome unknown.
        key = str(uuid.uuid4())
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                status, body = self.place_order(concert, order, key)
            except RequestFailed as failure:
                if failure.status == HTTPStatus.NOT_FOUND:
                    self.concerts.remove(concert)
                if attempt == MAX_ATTEMPTS or not failure.is_transient():
                    raise
            else:
                if status == HTTPStatus.CREATED:
                    self.purchases = [*self.purchases[-9:], body["id"]]
                    return self.view_purchase(body["id"])
                if status == HTTPStatus.CONFLICT:
                    concert["available"] = 0
                    return None
            # Declined or failed: the think time or the back-off, then the same order again.
            if attempt < MAX_ATTEMPTS:
                self.wait()
        return None

    @task(2)
    def view_a_purchase(self):
        if self.purchases:
            self.view_purchase(random.choice(self.purchases))

    @task(1)
    def refund(self):
        if self.purchases and random.random() < 0.5:
            purchase = random.choice(self.purchases)
            # A purchase stays in the list until the refund is confirmed; a second DELETE is safe.
            self.send("DELETE", f"/purchases/{purchase}", PURCHASE, {HTTPStatus.OK, HTTPStatus.NO_CONTENT})
            self.purchases.remove(purchase)

    def view_concert(self, concert):
        try:
            self.send("GET", f"/concerts/{concert['id']}", CONCERT, {HTTPStatus.OK})
        except RequestFailed as failure:
            if failure.status == HTTPStatus.NOT_FOUND:
                self.concerts.remove(concert)
            raise

    def view_purchase(self, purchase):
        try:
            self.send("GET", f"/purchases/{purchase}", PURCHASE, {HTTPStatus.OK})
        except RequestFailed as failure:
            if failure.status == HTTPStatus.NOT_FOUND:
                self.purchases.remove(purchase)
            raise

    def place_order(self, concert, order, key):
        return self.send(
            "POST",
            f"/concerts/{concert['id']}/purchases",
            PURCHASES,
            {HTTPStatus.CREATED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.CONFLICT},
            json=order,
            headers={"Idempotency-Key": key},
        )


class Scanner(TicketUser):
    """Requests paths without a route, and purchases that do not exist."""

    weight = 1
    think_time = between(0.5, 3)

    @task(3)
    def probe_path(self):
        path = random.choice(("/wp-login.php", "/.env", "/admin", "/favicon.ico", f"/{uuid.uuid4()}"))
        self.send("GET", path, UNMATCHED, {HTTPStatus.NOT_FOUND})

    @task(1)
    def view_unknown_purchase(self):
        self.send("GET", f"/purchases/{uuid.uuid4()}", PURCHASE, {HTTPStatus.NOT_FOUND})


class Promoter(TicketUser):
    """Keeps ON_SALE concerts on sale. A run has one promoter."""

    ON_SALE = 8

    fixed_count = 1
    think_time = constant(2)

    @task
    def keep_concerts_on_sale(self):
        on_sale = 0
        for page in self.pages():
            on_sale += sum(concert["available"] > 0 for concert in page)
            if on_sale >= self.ON_SALE:
                return
        # Ends with the first failure; the next round reads the list again.
        for _ in range(self.ON_SALE - on_sale):
            self.open_concert()

    def open_concert(self):
        artist = random.choice(("Nina Simone", "Kraftwerk", "Björk", "Fela Kuti", "Radiohead", "Portishead"))
        city, venue = random.choice((("Berlin", "Tempodrom"), ("Paris", "Olympia"), ("London", "Roundhouse")))
        token = os.environ.get("ADMIN_TOKEN", "").removesuffix("\n")
        try:
            self.send(
                "POST",
                CONCERTS,
                CONCERTS,
                {HTTPStatus.CREATED},
                json={
                    "title": f"{artist} {city} {random.randrange(1_000_000)}",
                    "venue": venue,
                    "starts_at": f"{datetime.now(timezone.utc) + timedelta(days=90):%Y-%m-%dT20:00:00Z}",
                    # Mostly halls; a club of 150 sells out within minutes.
                    "capacity": random.choice((150, 2_000, 20_000, 200_000)),
                    "price": {"amount": random.choice((2_900, 4_500, 6_500, 9_900)), "currency": "EUR"},
                },
                headers={"Authorization": f"Bearer {token}"} if token else {},
            )
        except RequestFailed as failure:
            if failure.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                logging.error("POST /concerts: status %d: set ADMIN_TOKEN to the server's token", failure.status)
                raise StopUser from failure
            raise
