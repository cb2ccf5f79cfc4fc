"""Load shape with a stepwise ramp, a plateau, and a phase of low load that shows whether the server recovers.

    locust -f locustfile.py,stress.py --headless --stop-timeout 30 --host http://127.0.0.1:8080

Locust uses the shape when this file is in the list; it then ignores `-u`, `-r` and `-t`.

Environment, whole numbers of at least 1:
    STRESS_USERS: users on the plateau. Defaults to 500.
    STRESS_STEPS: steps of the ramp. Defaults to 10.
    STRESS_STEP_S: seconds per step. Defaults to 30.
    STRESS_HOLD_S: seconds on the plateau. Defaults to 120.
    STRESS_RECOVER_S: seconds with a tenth of the users. Defaults to 60.
"""

import os

from locust import LoadTestShape


def setting(name, default):
    """Reads a whole number of at least 1 from the environment."""
    text = os.environ.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise SystemExit(f"{name}: {text!r} is not a whole number of at least 1")
    return int(text)


class StressRamp(LoadTestShape):
    """Ramps up in equal steps, holds, and then drops to a tenth of the users."""

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
        # At least the promoter and one buyer. The spawn rate completes a step within seconds.
        return max(users, 2), max(self.users / 10, 1)
