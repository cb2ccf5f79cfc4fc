"""A stress ramp: more users in steps, a plateau, then back to a few, to see whether the server recovers.

    locust -f locustfile.py,stress.py --headless --stop-timeout 30 --host http://127.0.0.1:8080

Locust takes the shape as soon as this file is named; `-u`, `-r` and `-t` are then without effect.
Environment: STRESS_USERS (at the top, 500), STRESS_STEPS (10), STRESS_STEP_S (seconds of a step, 30),
STRESS_HOLD_S (seconds at the top, 120), STRESS_RECOVER_S (seconds with a tenth of the users, 60).
"""

import os

from locust import LoadTestShape


def setting(name, default):
    """A whole number of at least 1 from the environment."""
    text = os.environ.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise SystemExit(f"{name}={text!r} is not allowed: a whole number of at least 1 is")
    return int(text)


class StressRamp(LoadTestShape):
    users = setting("STRESS_USERS", 500)
    steps = setting("STRESS_STEPS", 10)
    step_s = setting("STRESS_STEP_S", 30)
    hold_s = setting("STRESS_HOLD_S", 120)
    recover_s = setting("STRESS_RECOVER_S", 60)

    def tick(self):
        ramp_s = self.steps * self.step_s
        now = self.get_run_time()
        if now < ramp_s:
            users = self.users * (int(now // self.step_s) + 1) // self.steps
        elif now < ramp_s + self.hold_s:
            users = self.users
        elif now < ramp_s + self.hold_s + self.recover_s:
            users = self.users // 10
        else:
            return None
        # The promoter and a fan are the least that make sense; a step is filled within a few seconds.
        return max(users, 2), max(self.users / 10, 1)
