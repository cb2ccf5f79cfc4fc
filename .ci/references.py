#!/usr/bin/env python3
"""Checks the references between the objects of a rendered overlay, which schemas do not cover.

    kubectl kustomize DIR | references.py

Each selector matches the pods of one workload; named ports exist; mounts have volumes; ConfigMaps exist and have the
referenced keys; the Secret's keys are those that k8s/README.md creates; service accounts, scale targets, containers of
metrics, routes and policies refer to existing objects. Prints one line per problem. Exits with status 1 if there are
problems or no objects. Requires pyyaml.
"""

import sys
from collections.abc import Iterator
from typing import Any

import yaml

Object = dict[str, Any]
# Created by hand, so that the manifests contain no passwords.
SECRETS = {"tickets": {"ADMIN_TOKEN", "DATABASE_URL", "POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}}
WORKLOADS = ("Deployment", "StatefulSet")
# Kubernetes creates these in every namespace.
BUILT_IN = {("ServiceAccount", "default")}


def containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def ports(pod: Object) -> set[Any]:
    """Returns the ports of a pod by name and by number."""
    found = [port for container in containers(pod) for port in container.get("ports", [])]
    return {port.get("name") for port in found} | {port["containerPort"] for port in found}


class Overlay:
    """Objects of a rendered overlay, with a check per kind."""

    def __init__(self, objects: list[Object]):
        self.objects = {(each["kind"], each["metadata"]["name"]): each for each in objects}
        self.duplicates = len(objects) - len(self.objects)
        self.pods = {name: each["spec"]["template"] for (kind, name), each in self.objects.items() if kind in WORKLOADS}

    def selected(self, labels: dict[str, str]) -> list[str]:
        """Returns the workloads whose pods have these labels."""
        return [
            name for name, template in self.pods.items() if labels.items() <= template["metadata"]["labels"].items()
        ]

    def problems(self) -> Iterator[str]:
        if self.duplicates:
            yield f"{self.duplicates} objects have the same kind and name as another"
        for (kind, name), each in self.objects.items():
            check = getattr(self, f"check_{kind.lower()}", None)
            found = self.check_workload(each) if kind in WORKLOADS else check(each) if check else ()
            yield from (f"{kind}/{name}: {problem}" for problem in found)

    def check_workload(self, each: Object) -> Iterator[str]:
        spec, template = each["spec"], each["spec"]["template"]
        pod = template["spec"]
        if self.selected(spec["selector"]["matchLabels"]) != [each["metadata"]["name"]]:
            yield "its selector does not match exactly its own pods"
        if (account := pod.get("serviceAccountName", "default")) and not self.has("ServiceAccount", account):
            yield f"no service account {account!r}"
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
        mounted = {mount["name"] for container in containers(pod) for mount in container.get("volumeMounts", [])}
        yield from (f"no volume {name!r}" for name in mounted - volumes)
        yield from (f"the volume {name!r} is not mounted" for name in volumes - mounted)
        for volume in pod.get("volumes", []):
            for source in [volume, *volume.get("projected", {}).get("sources", [])]:
                if (config := source.get("configMap")) and not self.has("ConfigMap", config["name"]):
                    yield f"no ConfigMap {config['name']!r}"
        for container in containers(pod):
            yield from self.check_environment(container)
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                action = container.get(probe, {})
                port = (action.get("httpGet") or action.get("tcpSocket") or {}).get("port")
                if port is not None and port not in ports({"containers": [container]}):
                    yield f"{probe} of {container['name']}: no port {port!r}"

    def check_environment(self, container: Object) -> Iterator[str]:
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if secret := source.get("secretKeyRef"):
                if secret["key"] not in SECRETS.get(secret["name"], ()):
                    yield f"{variable['name']}: no key {secret['key']!r} in a Secret {secret['name']!r}"
            if config := source.get("configMapKeyRef"):
                if config["key"] not in self.objects.get(("ConfigMap", config["name"]), {}).get("data", {}):
                    yield f"{variable['name']}: no key {config['key']!r} in a ConfigMap {config['name']!r}"

    def check_service(self, each: Object) -> Iterator[str]:
        found = self.selected(each["spec"]["selector"])
        if len(found) != 1:
            yield f"its selector matches the pods of {', '.join(found) or 'no workload'}"
        for port in each["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            yield from (f"no port {target!r} in {name}" for name in found if target not in ports(self.pods[name]["spec"]))

    def check_podmonitoring(self, each: Object) -> Iterator[str]:
        found = self.selected(each["spec"]["selector"]["matchLabels"])
        if not found:
            yield "its selector matches no pods"
        for endpoint in each["spec"]["endpoints"]:
            port = endpoint["port"]
            yield from (f"no port {port!r} in {name}" for name in found if port not in ports(self.pods[name]["spec"]))

    def check_poddisruptionbudget(self, each: Object) -> Iterator[str]:
        if not self.selected(each["spec"]["selector"]["matchLabels"]):
            yield "its selector matches no pods"

    def check_horizontalpodautoscaler(self, each: Object) -> Iterator[str]:
        target = each["spec"]["scaleTargetRef"]
        if not self.has(target["kind"], target["name"]):
            yield f"no {target['kind']} {target['name']!r}"
            return
        spec = self.objects[target["kind"], target["name"]]["spec"]
        if "replicas" in spec:
            yield "its target sets `replicas`, which each apply would reset"
        measured = {container["name"]: container for container in containers(spec["template"]["spec"])}
        for metric in each["spec"]["metrics"]:
            if metric["type"] == "Resource" and len(measured) > 1:
                yield "a Resource metric averages over the sidecars; use ContainerResource"
            if metric["type"] == "ContainerResource":
                resource = metric["containerResource"]
                container = measured.get(resource["container"])
                if container is None:
                    yield f"no container {resource['container']!r}"
                elif resource["name"] not in container.get("resources", {}).get("requests", {}):
                    yield f"the container {resource['container']!r} does not request {resource['name']}"

    def check_networkpolicy(self, each: Object) -> Iterator[str]:
        peers = [peer for rule in each["spec"].get("ingress", []) for peer in rule.get("from", [])]
        for selector in (each["spec"]["podSelector"], *(peer["podSelector"] for peer in peers if "podSelector" in peer)):
            if not self.selected(selector.get("matchLabels", {})):
                yield f"its selector {selector} matches no pods"
        for port in (port for rule in each["spec"].get("ingress", []) for port in rule.get("ports", [])):
            for name in self.selected(each["spec"]["podSelector"].get("matchLabels", {})):
                if port["port"] not in ports(self.pods[name]["spec"]):
                    yield f"no port {port['port']!r} in {name}"

    def check_rolebinding(self, each: Object) -> Iterator[str]:
        for reference in (each["roleRef"], *each["subjects"]):
            if not self.has(reference["kind"], reference["name"]):
                yield f"no {reference['kind']} {reference['name']!r}"

    def check_httproute(self, each: Object) -> Iterator[str]:
        for parent in each["spec"]["parentRefs"]:
            gateway = self.objects.get(("Gateway", parent["name"]), {"spec": {"listeners": []}})
            if parent.get("sectionName") not in {None, *(listener["name"] for listener in gateway["spec"]["listeners"])}:
                yield f"no listener {parent['sectionName']!r} in a Gateway {parent['name']!r}"
        for backend in (backend for rule in each["spec"]["rules"] for backend in rule["backendRefs"]):
            service = self.objects.get(("Service", backend["name"]), {"spec": {"ports": []}})
            if backend["port"] not in (port["port"] for port in service["spec"]["ports"]):
                yield f"no port {backend['port']} in a Service {backend['name']!r}"

    def check_gcpbackendpolicy(self, each: Object) -> Iterator[str]:
        target = each["spec"]["targetRef"]
        if not self.has(target["kind"], target["name"]):
            yield f"no {target['kind']} {target['name']!r}"

    def check_healthcheckpolicy(self, each: Object) -> Iterator[str]:
        yield from self.check_gcpbackendpolicy(each)
        service = self.objects.get(("Service", each["spec"]["targetRef"]["name"]), {"spec": {"selector": {}}})
        port = each["spec"]["default"]["config"]["httpHealthCheck"]["port"]
        for name in self.selected(service["spec"]["selector"]):
            if port not in ports(self.pods[name]["spec"]):
                yield f"no port {port} in {name}"

    def has(self, kind: str, name: str) -> bool:
        return (kind, name) in self.objects or (kind, name) in BUILT_IN


def main() -> int:
    objects = [each for each in yaml.safe_load_all(sys.stdin) if each]
    problems = list(Overlay(objects).problems())
    print(*problems, sep="\n", end="\n" if problems else "")
    return int(bool(problems) or not objects)


if __name__ == "__main__":
    sys.exit(main())
