"""Tests how the simulated users of locustfile.py handle errors, against a scripted HTTP server.

    python3 -m unittest discover --start-directory k8s/locust --pattern '*_test.py'
"""

# Locust patches the standard library for gevent, so it is imported first.
import locust  # noqa: F401  isort: skip

import json
import os
import unittest
from email.utils import format_datetime
from datetime import datetime, timedelta, timezone
from unittest import mock

from gevent.pywsgi import WSGIServer
from locust.env import Environment
from locust.exception import StopUser

import locustfile
from locustfile import Buyer, Promoter, RequestFailed, Scanner

CONCERT_ID = "01920000-0000-7000-8000-000000000001"


def concert(available):
    return {"id": CONCERT_ID, "available": available}


def page(*concerts, next_cursor=None):
    return 200, {"items": list(concerts), "next_cursor": next_cursor}


class ScriptedServer:
    """Answers each request with what `respond(method, path)` returns: a status, a body and optional headers."""

    def __init__(self, respond):
        self.respond = respond
        self.requests = []
        self.keys = []
        self.server = WSGIServer(("127.0.0.1", 0), self.handle, log=None)

    def handle(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        self.keys.append(environ.get("HTTP_IDEMPOTENCY_KEY"))
        status, body, *headers = self.respond(method, path)
        start_response(f"{status} -", [("Content-Type", "application/json"), *(headers[0] if headers else [])])
        return [(body if isinstance(body, str) else json.dumps(body)).encode()]

    def __enter__(self):
        self.server.start()
        self.host = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_):
        self.server.stop()

    def count(self, method, path=None):
        return sum(seen == method and path in (None, at) for seen, at in self.requests)


class ErrorHandling(unittest.TestCase):
    def serve(self, respond):
        return self.enterContext(ScriptedServer(respond))

    def user(self, user_class, host):
        environment = Environment(user_classes=[user_class])
        user_class.host = host
        user = user_class(environment)
        self.addCleanup(user.client.client.close)
        user.failures = []
        environment.events.request.add_listener(
            lambda name, exception, **_: exception and user.failures.append((name, str(exception)))
        )
        # A wait within a task is recorded instead of slept.
        user.waits = []
        user.wait = lambda: user.waits.append(user.wait_time())
        user.on_start()
        return user

    def test_the_promoter_creates_no_concert_when_the_list_fails(self):
        for status in (429, 500, 503, 504):
            with self.subTest(status=status):
                server = self.serve(lambda *_: (status, {}))
                promoter = self.user(Promoter, server.host)
                self.assertRaises(RequestFailed, promoter.keep_concerts_on_sale)
                self.assertEqual(server.requests, [("GET", "/concerts")])

    def test_the_promoter_creates_no_concert_when_a_later_page_fails(self):
        answers = iter([page(concert(0), next_cursor="2"), (503, {})])
        server = self.serve(lambda *_: next(answers))
        promoter = self.user(Promoter, server.host)
        self.assertRaises(RequestFailed, promoter.keep_concerts_on_sale)
        self.assertEqual(server.count("POST"), 0)

    def test_the_promoter_sends_one_request_per_round_while_the_server_is_down(self):
        with ScriptedServer(lambda *_: page()) as server:
            promoter = self.user(Promoter, server.host)
        with self.assertRaises(RequestFailed) as raised:
            promoter.keep_concerts_on_sale()
        self.assertEqual(raised.exception.status, 0)
        self.assertEqual(len(promoter.failures), 1)
        self.assertIn("refused", promoter.failures[0][1])

    def test_the_promoter_ends_its_round_with_the_first_failed_creation(self):
        server = self.serve(lambda method, _: page() if method == "GET" else (503, {}))
        promoter = self.user(Promoter, server.host)
        self.assertRaises(RequestFailed, promoter.keep_concerts_on_sale)
        self.assertEqual(server.count("POST"), 1)

    def test_the_promoter_stops_when_its_token_is_rejected(self):
        server = self.serve(lambda method, _: page() if method == "GET" else (401, {}))
        promoter = self.user(Promoter, server.host)
        with self.assertLogs(level="ERROR") as logs:
            self.assertRaises(StopUser, promoter.keep_concerts_on_sale)
        self.assertIn("ADMIN_TOKEN", logs.output[0])

    def test_the_promoter_creates_the_missing_concerts(self):
        server = self.serve(lambda method, _: page(*[concert(5)] * 3, concert(0)) if method == "GET" else (201, {}))
        promoter = self.user(Promoter, server.host)
        with mock.patch.dict(os.environ, ADMIN_TOKEN="token\n"):
            promoter.keep_concerts_on_sale()
        self.assertEqual(server.count("POST"), 5)

    def test_leading_pages_that_are_sold_out_are_read_once(self):
        answers = iter([page(concert(0), next_cursor="2"), page(*[concert(1)] * 8), page(*[concert(1)] * 8)])
        server = self.serve(lambda *_: next(answers))
        promoter = self.user(Promoter, server.host)
        promoter.keep_concerts_on_sale()
        promoter.keep_concerts_on_sale()
        self.assertEqual(server.count("GET"), 3)

    def test_a_buyer_keeps_its_list_and_sends_nothing_else_when_the_list_fails(self):
        server = self.serve(lambda *_: (503, {}))
        buyer = self.user(Buyer, server.host)
        buyer.concerts = [concert(5)]
        self.assertRaises(RequestFailed, buyer.browse)
        self.assertEqual(buyer.concerts, [concert(5)])
        self.assertEqual(len(server.requests), 1)

    def test_a_buyer_retries_a_failed_order_once_with_the_same_key_after_a_pause(self):
        for status in (0, 429, 500, 503, 504):
            with self.subTest(status=status), mock.patch("random.random", return_value=0.9):
                server = self.serve(lambda *_: (status or 200, {}, [("Retry-After", "7")]))
                buyer = self.user(Buyer, server.host)
                buyer.concerts = [concert(5)]
                if status == 0:
                    server.server.stop()
                self.assertRaises(RequestFailed, buyer.buy)
                self.assertEqual(len(buyer.waits), 1)
                if status:
                    self.assertEqual(server.count("POST"), 2)
                    self.assertEqual(len(set(server.keys)), 1)
                    self.assertGreaterEqual(buyer.waits[0], 7)

    def test_a_buyer_does_not_retry_an_order_that_was_rejected_permanently(self):
        for status in (400, 404, 413, 422):
            with self.subTest(status=status), mock.patch("random.random", return_value=0.9):
                server = self.serve(lambda *_: (status, {}))
                buyer = self.user(Buyer, server.host)
                buyer.concerts = [concert(5)]
                self.assertRaises(RequestFailed, buyer.buy)
                self.assertEqual(server.count("POST"), 1)
                self.assertEqual(buyer.concerts == [], status == 404)

    def test_a_declined_payment_is_retried_once_and_is_not_a_failure(self):
        server = self.serve(lambda *_: (402, {}))
        buyer = self.user(Buyer, server.host)
        buyer.concerts = [concert(5)]
        with mock.patch("random.random", return_value=0.9):
            buyer.buy()
        self.assertEqual(server.count("POST"), 2)
        self.assertEqual(buyer.failures, [])

    def test_a_sold_out_concert_is_not_ordered_from_again(self):
        server = self.serve(lambda *_: (409, {}))
        buyer = self.user(Buyer, server.host)
        buyer.concerts = [concert(5)]
        with mock.patch("random.random", return_value=0.9):
            buyer.buy()
        self.assertEqual(server.count("POST"), 1)
        self.assertEqual(buyer.failures, [])
        self.assertIsNone(buyer.choose_concert())

    def test_a_purchase_is_kept_until_its_refund_is_confirmed(self):
        answers = iter([(504, {}), (200, {})])
        server = self.serve(lambda *_: next(answers))
        buyer = self.user(Buyer, server.host)
        buyer.purchases = ["1"]
        with mock.patch("random.random", return_value=0.1):
            self.assertRaises(RequestFailed, buyer.refund)
            self.assertEqual(buyer.purchases, ["1"])
            buyer.refund()
        self.assertEqual(buyer.purchases, [])

    def test_a_purchase_that_no_longer_exists_is_dropped(self):
        server = self.serve(lambda *_: (404, {}))
        buyer = self.user(Buyer, server.host)
        buyer.purchases = ["1"]
        self.assertRaises(RequestFailed, buyer.view_a_purchase)
        self.assertEqual(buyer.purchases, [])

    def test_the_back_off_grows_to_its_maximum_and_is_reset_by_a_success(self):
        status = 503
        server = self.serve(lambda *_: (status, {}))
        scanner = self.user(Scanner, server.host)
        waits = []
        for _ in range(8):
            self.assertRaises(RequestFailed, scanner.probe_path)
            waits.append(scanner.backoff)
        self.assertLessEqual(waits[0], locustfile.MIN_BACKOFF)
        self.assertGreaterEqual(waits[-1], locustfile.MAX_BACKOFF / 2)
        self.assertLessEqual(max(waits), locustfile.MAX_BACKOFF)
        status = 404
        scanner.probe_path()
        self.assertEqual(scanner.backoff, 0)

    def test_a_body_that_is_truncated_or_not_json_is_a_failure(self):
        for headers in ([], [("Content-Length", "100"), ("Connection", "close")]):
            with self.subTest(headers=headers):
                server = self.serve(lambda *_: (200, "{", headers))
                buyer = self.user(Buyer, server.host)
                self.assertRaises(RequestFailed, buyer.browse)
                self.assertEqual(len(buyer.failures), 1)

    def test_retry_after_takes_seconds_and_dates_and_ignores_everything_else(self):
        date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=60), usegmt=True)
        for value, seconds in (("7", 7), ("0", 0), ("9" * 5000, 0), ("99999", locustfile.MAX_RETRY_AFTER), ("-1", 0), ("soon", 0)):
            self.assertEqual(locustfile.retry_after({"retry-after": value}), seconds, value)
        self.assertAlmostEqual(locustfile.retry_after({"retry-after": date}), 60, delta=2)
        self.assertEqual(locustfile.retry_after({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}), 0)
        self.assertEqual(locustfile.retry_after({}), 0)
        self.assertEqual(locustfile.retry_after(None), 0)


if __name__ == "__main__":
    unittest.main()
