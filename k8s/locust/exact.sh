#!/usr/bin/env bash
# Checks that Locust, the server and Prometheus count the same number of requests. Starts the release server with the
# `everyday` faults, Prometheus and Locust on this machine, on free ports.
#
#     k8s/locust/exact.sh [SECONDS]        defaults to 60
#
# Environment:
#   USERS, SPAWN_RATE   simulated users and users started per second. Default to 50 and 25.
#   SERVER              path of an example-server binary. Built in release mode if unset.
#   LOCUST              path of the locust program. Installed into a temporary virtual environment if unset.
#   COMMIT              commit mode of the server, `group` or `each`.
#
# Requires prometheus, python3 and curl. Exits with the status of compare.py, or 2 if a program is missing or fails.
set -euo pipefail

seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "exact.sh: '$seconds' is not a whole number of seconds" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
for program in prometheus python3 curl; do
  command -v "$program" >/dev/null || { echo "exact.sh: $program is missing" >&2; exit 2; }
done

work=$(mktemp -d)
started=()
finish() {
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait || true
  rm -rf "$work"
}
trap finish EXIT

if [[ -z ${SERVER:-} ]]; then
  cargo build --release --locked --manifest-path "$root/Cargo.toml" -p example-server
  SERVER=${CARGO_TARGET_DIR:-$root/target}/release/example-server
fi
# The server runs in a temporary directory, so the path must be absolute.
SERVER=$(realpath "$SERVER")
if [[ -z ${LOCUST:-} ]]; then
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  LOCUST=$work/venv/bin/locust
fi

# Three free ports.
read -r api ops prom < <(python3 -c '
import socket
sockets = [socket.socket() for _ in range(3)]
for each in sockets:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))')

# wait_for URL LOG: waits until URL responds. Prints LOG and exits if the last started program ends or 30 s have passed.
wait_for() {
  for _ in {1..300}; do
    curl --silent --fail --output /dev/null --max-time 2 "$1" && return
    kill -0 "${started[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  echo "exact.sh: no response from $1" >&2
  cat "$2" >&2
  exit 2
}

ADMIN_TOKEN=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
export ADMIN_TOKEN
(cd "$work" && exec "$SERVER" serve --listen "127.0.0.1:$api" --ops-listen "127.0.0.1:$ops" \
  --database-url "sqlite://$work/tickets.db" --faults "$root/k8s/base/faults.toml") >"$work/server.log" 2>&1 &
started+=($!)
wait_for "http://127.0.0.1:$ops/readyz" "$work/server.log"

cat >"$work/prometheus.yml" <<YAML
global: { scrape_interval: 2s, scrape_timeout: 2s }
scrape_configs:
  - job_name: example-server
    static_configs: [{ targets: ["127.0.0.1:$ops"] }]
YAML
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/prometheus" \
  --web.listen-address="127.0.0.1:$prom" >"$work/prometheus.log" 2>&1 &
started+=($!)
wait_for "http://127.0.0.1:$prom/-/ready" "$work/prometheus.log"

status=0
LOCUST_COUNTS=$work/counts.json "$LOCUST" --locustfile "$here/locustfile.py" --headless --only-summary \
  --users "${USERS:-50}" --spawn-rate "${SPAWN_RATE:-25}" --run-time "${seconds}s" --stop-timeout 30 \
  --exit-code-on-error 0 --host "http://127.0.0.1:$api" || status=$?
((status == 0)) || { echo "exact.sh: Locust exited with status $status" >&2; cat "$work/server.log" >&2; exit 2; }

python3 "$here/compare.py" --counts "$work/counts.json" --metrics "http://127.0.0.1:$ops/metrics" \
  --prometheus "http://127.0.0.1:$prom"
