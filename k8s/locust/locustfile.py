"""Fans, one promoter and a few strays: the visitors of the ticket platform.

    locust -f locustfile.py --headless -u 50 -r 10 -t 60s --stop-timeout 30 --host http://127.0.0.1:8080

Requests are named by the server's own route templates, so that Locust's table, `/metrics` and the dashboards
show the same rows. A declined card (402) and a sold-out concert (409) are part of the play: they are counted
by their status and are no failures. With `--stop-timeout` every user finishes what it does, and no request is cut.

Environment: ADMIN_TOKEN, where the server asks for one to open concerts; LOCUST_COUNTS, a file to which the
requests by method, route and status are written when Locust quits (compare.py reads it).
"""

import json
import os
import random
import uuid
from collections import Counter
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from pathlib import Path

from locust import FastHttpUser, between, constant, events, task
from locust.runners import WorkerRunner

CONCERTS = "/concerts"
CONCERT = "/concerts/{concert_id}"
PURCHASES = "/concerts/{concert_id}/purchases"
PURCHASE = "/purchases/{purchase_id}"
# What the server leaves without a route; `http_route` is empty there.
UNMATCHED = "(unmatched)"

counts: Counter[tuple[str, str, int]] = Counter()


@events.request.add_listener
def count(request_type, name, response, **_):
    """Counts a request by its status; 0 where no response came."""
    counts[request_type, name, getattr(response, "status_code", 0) or 0] += 1


@events.report_to_master.add_listener
def hand_over(data, **_):
    """A worker gives its counts to the master with each report."""
    data["status_counts"] = [[*key, number] for key, number in counts.items()]
    counts.clear()


@events.worker_report.add_listener
def take_over(data, **_):
    for method, name, status, number in data.get("status_counts", ()):
        counts[method, name, status] += number


@events.quitting.add_listener
def write_counts(environment, **_):
    file = os.environ.get("LOCUST_COUNTS")
    if file and not isinstance(environment.runner, WorkerRunner):
        rows = [
            {"method": method, "route": "" if name == UNMATCHED else name, "status": status, "count": number}
            for (method, name, status), number in sorted(counts.items())
        ]
        Path(file).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


class Visitor(FastHttpUser):
    """What all visitors do: ask, and say which answers they expect."""

    abstract = True

    def ask(self, method, path, name, expected, **options):
        """Sends one request; an answer outside `expected` is a failure in Locust's table."""
        with self.client.request(method, path, name=name, catch_response=True, **options) as response:
            if response.status_code in expected:
                response.success()
            elif response.status_code:
                response.failure(f"status {response.status_code}")
            return response

    def page(self, cursor=None):
        """One page of the concerts and the cursor of the next one."""
        query = f"?limit=20&cursor={cursor}" if cursor else "?limit=20"
        response = self.ask("GET", CONCERTS + query, CONCERTS, {HTTPStatus.OK})
        if response.status_code != HTTPStatus.OK:
            return [], None
        body = response.json()
        return body["items"], body["next_cursor"]


class Fan(Visitor):
    """Looks around, buys, looks at the ticket, and now and then gives it back."""

    weight = 30
    wait_time = between(0.2, 1.5)

    def on_start(self):
        self.name = f"fan-{uuid.uuid4()}"
        self.concerts = []
        self.purchases = []

    def favourite(self):
        """A concert with tickets left; the first of the list is the one that most people want."""
        on_sale = [concert for concert in self.concerts if concert["available"] > 0]
        return on_sale[min(int(random.expovariate(0.7)), len(on_sale) - 1)] if on_sale else None

    @task(4)
    def browse(self):
        self.concerts, cursor = self.page()
        # Some turn the page; all do as long as everything they saw is sold out.
        while cursor and (self.favourite() is None or random.random() < 0.2):
            more, cursor = self.page(cursor)
            self.concerts += more
        if concert := self.favourite():
            self.read(concert)

    @task(6)
    def buy(self):
        concert = self.favourite()
        if concert is None:
            return self.browse()
        if random.random() < 0.5:
            self.read(concert)
        order = {"buyer": self.name, "quantity": random.choices((1, 2, 3, 4), (2, 6, 1, 2))[0]}
        key = str(uuid.uuid4())
        # The key makes a second try safe: whoever is declined, or gets no clear answer, tries the same once more.
        for _ in range(2):
            status, purchase = self.order(concert, order, key)
            if purchase:
                self.purchases = [*self.purchases[-9:], purchase]
                self.look_at(purchase)
            if status == HTTPStatus.CONFLICT:
                concert["available"] = 0
            if status not in (HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.SERVICE_UNAVAILABLE):
                break
        return None

    @task(2)
    def look_at_a_ticket(self):
        if self.purchases:
            self.look_at(random.choice(self.purchases))

    @task(1)
    def give_back(self):
        if self.purchases and random.random() < 0.5:
            purchase = self.purchases.pop(random.randrange(len(self.purchases)))
            self.ask("DELETE", f"/purchases/{purchase}", PURCHASE, {HTTPStatus.OK, HTTPStatus.NO_CONTENT})

    def read(self, concert):
        self.ask("GET", f"/concerts/{concert['id']}", CONCERT, {HTTPStatus.OK})

    def look_at(self, purchase):
        self.ask("GET", f"/purchases/{purchase}", PURCHASE, {HTTPStatus.OK})

    def order(self, concert, order, key):
        """The status of one try to buy, and the purchase's id where it succeeded."""
        response = self.ask(
            "POST",
            f"/concerts/{concert['id']}/purchases",
            PURCHASES,
            {HTTPStatus.CREATED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.CONFLICT},
            json=order,
            headers={"Idempotency-Key": key},
        )
        bought = response.status_code == HTTPStatus.CREATED
        return response.status_code, response.json()["id"] if bought else None


class Stray(Visitor):
    """Scanners and old links: paths without a route, and ids that do not exist."""

    weight = 1
    wait_time = between(0.5, 3)
    missing = {HTTPStatus.NOT_FOUND}

    @task(3)
    def probe(self):
        path = random.choice(("/wp-login.php", "/.env", "/admin", "/favicon.ico", f"/{uuid.uuid4()}"))
        self.ask("GET", path, UNMATCHED, self.missing)

    @task(1)
    def follow_an_old_link(self):
        self.ask("GET", f"/purchases/{uuid.uuid4()}", PURCHASE, self.missing)


class Promoter(Visitor):
    """One for the whole run: opens concerts whenever too few have tickets left."""

    fixed_count = 1
    wait_time = constant(2)
    on_sale = 8

    @task
    def open_concerts(self):
        concerts, cursor = self.page()
        while cursor:
            more, cursor = self.page(cursor)
            concerts += more
        open_now = sum(concert["available"] > 0 for concert in concerts)
        for _ in range(self.on_sale - open_now):
            self.open_concert()

    def open_concert(self):
        artist = random.choice(("Nina Simone", "Kraftwerk", "Björk", "Fela Kuti", "Radiohead", "Portishead"))
        city, venue = random.choice((("Berlin", "Tempodrom"), ("Paris", "Olympia"), ("London", "Roundhouse")))
        # Most are halls; some are clubs, which sell out while one watches.
        capacity = random.choice((150, 2_000, 20_000, 200_000))
        token = os.environ.get("ADMIN_TOKEN")
        self.ask(
            "POST",
            CONCERTS,
            CONCERTS,
            {HTTPStatus.CREATED},
            json={
                "title": f"{artist} {city} {random.randrange(1_000_000)}",
                "venue": venue,
                "starts_at": f"{datetime.now(timezone.utc) + timedelta(days=90):%Y-%m-%dT20:00:00Z}",
                "capacity": capacity,
                "price": {"amount": random.choice((2_900, 4_500, 6_500, 9_900)), "currency": "EUR"},
            },
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
