"""Parses an exposition with the strict parser of prometheus_client, and prints the
number of samples and every exemplar."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

samples = [
    sample
    for family in text_string_to_metric_families(sys.stdin.read())
    for sample in family.samples
]
print("samples", len(samples))
for sample in samples:
    if sample.exemplar:
        print("exemplar", sample.name, sample.exemplar.labels["trace_id"], sample.exemplar.value)
