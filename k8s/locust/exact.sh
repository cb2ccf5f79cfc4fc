#!/usr/bin/env bash
# Three counts of the same requests, which must be the same exactly: the release server with the `everyday`
# faults under real Locust, scraped by a real Prometheus, all on this machine and on ports of their own.
#
#     k8s/locust/exact.sh [SECONDS]        60 unless told otherwise
#
# Environment: USERS (50), SPAWN_RATE (25), SERVER (a built server; otherwise it is built), LOCUST (the program;
# otherwise it is installed into a virtual environment that is thrown away), COMMIT (group or each).
# Needs prometheus, python3, curl. Exit status: compare.py's.
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
# The server runs in a folder of its own, where a relative path would lead elsewhere.
SERVER=$(realpath "$SERVER")
if [[ -z ${LOCUST:-} ]]; then
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  LOCUST=$work/venv/bin/locust
fi

# Three ports that were free a moment ago.
read -r api ops prom < <(python3 -c '
import socket
held = [socket.socket() for _ in range(3)]
for each in held:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in held))')

# wait_for URL LOG: until it answers, or shows what the program started last has said.
wait_for() {
  for _ in {1..300}; do
    curl --silent --fail --output /dev/null --max-time 2 "$1" && return
    kill -0 "${started[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  echo "exact.sh: $1 did not answer" >&2
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
((status == 0)) || { echo "exact.sh: Locust ended with $status" >&2; cat "$work/server.log" >&2; exit 2; }

python3 "$here/compare.py" --counts "$work/counts.json" --metrics "http://127.0.0.1:$ops/metrics" \
  --prometheus "http://127.0.0.1:$prom"
