"""deploy/helm/fluidmcp, rendered by Helm's own engine, checked by the schemas of Kubernetes, its Envoy at work."""

import asyncio
import base64
import json
import secrets
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from fluidmcp import __version__
from tests.acceptance.harness import start_fluidmcp
from tests.deploy.shipped import DEPLOY, read_image_environment
from tests.deploy.three import (
    CLIENTS,
    SERVER,
    Three,
    ask,
    begin_session,
    calling,
    running_envoy,
    speak_by_sse,
    three_gateways,
)
from tests.deploy.tools import run_python, run_tool

CHART: Final = DEPLOY / "helm" / "fluidmcp"
RENDER: Final = Path(__file__).with_name("render.py")
SERVERS: Final = {"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}}
LEAST: Final = {"publicUrl": "https://mcp.example.com", "existingSecret": "keys", "servers": SERVERS}
ALL: Final = {
    **LEAST,
    "env": {"FMCP_OAUTH_ISSUER": "https://login.example.com"},
    "autoscaling": {"enabled": True},
    "persistence": {"enabled": True, "storageClassName": "fast"},
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "certificate", "annotations": {"a": "b"}},
    "imagePullSecrets": [{"name": "pull"}],
    "networkPolicy": {"extraEgress": [{"ports": [{"port": 5432}]}]},
}
KUBERNETES: Final = ("1.30", "1.37")
"""The oldest one that the chart wants, and the newest whose schemas there are."""
VALIDATE: Final = """
import json, sys, kubernetes_validate as k
for manifest in json.load(sys.stdin):
    for version in sys.argv[1:]:
        k.validate(manifest, version, strict=True)
"""
LIMIT_SECONDS: Final = 90.0

pytestmark = pytest.mark.needs("deploy-tools")


def render(values: dict[str, Any]) -> dict[str, Any]:
    code, told = run_tool("python", "-I", RENDER, CHART, stdin=json.dumps(values))
    assert code == 0, told
    return json.loads(told)


def read_manifests(values: dict[str, Any]) -> list[dict[str, Any]]:
    told = render(values)
    assert "error" not in told, told
    texts = [text for path, text in told["manifests"].items() if path.endswith(".yaml")]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def one(manifests: list[dict[str, Any]], kind: str, name: str = "fluidmcp") -> dict[str, Any]:
    [found] = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    return found


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"]["template"]["spec"]


@pytest.mark.parametrize("values", [LEAST, ALL], ids=["least", "all"])
def test_helm_and_kubernetes_take_it(values: dict[str, Any]) -> None:
    told = render(values)
    assert told["lint"]["errors"] == []
    assert [m["error"] for m in told["lint"]["messages"]] == ["icon is recommended"]
    manifests = read_manifests(values)
    program = f"import sys; sys.argv = ['', *{KUBERNETES!r}]\n{VALIDATE}"
    assert run_python(program, stdin=json.dumps(manifests))[0] == 0


def test_kubernetes_would_not_take_it_with_a_mistake() -> None:
    manifests = read_manifests(LEAST)
    pod_of(one(manifests, "StatefulSet"))["terminationGracePeriodSecond"] = 1
    program = f"import sys; sys.argv = ['', *{KUBERNETES!r}]\n{VALIDATE}"
    code, told = run_python(program, stdin=json.dumps(manifests))
    assert (code, "terminationGracePeriodSecond" in told) == (1, True)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"existingSecret": ""}, "existingSecret"),
        ({"publicUrl": "http://mcp.example.com"}, "publicUrl"),
        ({"servers": {"mcpServers": {}}}, "mcpServers"),
        ({"env": {"FMCP_SEAL_KEYS": "x"}}, "FMCP_SEAL_KEYS"),
        ({"guard": "--allow-insecure"}, "guard"),
        ({"replica": 3}, "replica"),
    ],
)
def test_values_that_are_wrong_or_secret_are_refused(change: dict[str, Any], named: str) -> None:
    assert named in render({**LEAST, **change})["error"]


@pytest.mark.parametrize("values", [LEAST, ALL], ids=["least", "all"])
def test_pods_are_restricted_and_have_no_credentials_of_the_cluster(values: dict[str, Any]) -> None:
    """The level `restricted` of the pod security standards."""
    manifests = read_manifests(values)
    for pod in (pod_of(one(manifests, "StatefulSet")), pod_of(one(manifests, "Deployment", "fluidmcp-balancer"))):
        assert pod["automountServiceAccountToken"] is False
        security = pod["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"] > 0) == (True, True)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & {*pod}
        [container] = pod["containers"]
        inside = container["securityContext"]
        assert inside["allowPrivilegeEscalation"] is False
        assert inside["capabilities"] == {"drop": ["ALL"]}
        assert inside["readOnlyRootFilesystem"] is True
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir"}
        assert "memory" in container["resources"]["limits"]


def test_what_is_written_is_mounted_and_secrets_come_by_reference() -> None:
    manifests = read_manifests(LEAST)
    [container] = pod_of(one(manifests, "StatefulSet"))["containers"]
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/var/lib/fluidmcp", "/tmp"]
    assert read_image_environment()["HOME"] in writable
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert "Secret" not in {manifest["kind"] for manifest in manifests}


def test_a_pod_has_more_time_to_end_than_it_takes() -> None:
    pod = pod_of(one(read_manifests({**LEAST, "noticeSeconds": 7, "drainSeconds": 100}), "StatefulSet"))
    assert pod["terminationGracePeriodSeconds"] == 117
    [container] = pod["containers"]
    assert "--drain-seconds=100" in container["args"]
    assert {"name": "FMCP_NOTICE_SECONDS", "value": "7"} in container["env"]


def test_everything_that_selects_pods_selects_those_of_the_chart() -> None:
    manifests = read_manifests(ALL)
    labels = {
        "gateway": one(manifests, "StatefulSet")["spec"]["template"]["metadata"]["labels"],
        "balancer": one(manifests, "Deployment", "fluidmcp-balancer")["spec"]["template"]["metadata"]["labels"],
    }
    seen = 0
    for selector in find_selectors(manifests):
        wanted = selector.get("matchLabels", selector)
        if "app.kubernetes.io/component" in wanted:
            pod = labels[wanted["app.kubernetes.io/component"]]
            assert wanted.items() <= pod.items()
            seen += 1
    assert seen >= 12


def find_selectors(node: Any) -> Iterator[Any]:
    for value in node if isinstance(node, list) else []:  # pyright: ignore[reportUnknownVariableType]
        yield from find_selectors(value)
    for name, value in node.items() if isinstance(node, dict) else []:  # pyright: ignore[reportUnknownVariableType]
        if name in ("selector", "podSelector", "labelSelector"):
            yield value
        else:
            yield from find_selectors(value)


def test_where_the_number_of_gateways_changes_each_that_may_come_has_its_route() -> None:
    manifests = read_manifests({**LEAST, "autoscaling": {"enabled": True, "maxReplicas": 12}})
    assert "replicas" not in one(manifests, "StatefulSet")["spec"]
    assert one(manifests, "HorizontalPodAutoscaler")["spec"]["maxReplicas"] == 12
    clusters = {cluster["name"] for cluster in read_envoy(manifests)["static_resources"]["clusters"]}
    assert clusters == {"gateways", *(f"fluidmcp-{number}" for number in range(12))}


def read_envoy(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    return yaml.safe_load(one(manifests, "ConfigMap", "fluidmcp-balancer")["data"]["envoy.yaml"])


def test_names_of_gateways_are_short_enough_for_their_setting() -> None:
    """FMCP_REPLICA takes 32 characters."""
    text = (CHART / "templates" / "_helpers.tpl").read_text(encoding="utf-8")
    assert "trunc 29" in text
    assert len("-fluidmcp") + 20 <= 29


async def test_a_gateway_starts_with_what_its_pod_says(tmp_path: Path) -> None:
    manifests = read_manifests({**LEAST, "guard": "--secure", "servers": {"mcpServers": {"time": own_server()}}})
    [container] = pod_of(one(manifests, "StatefulSet"))["containers"]
    config = tmp_path / "servers.json"
    config.write_text(one(manifests, "ConfigMap", "fluidmcp-servers")["data"]["servers.json"], encoding="utf-8")
    args = [str(config) if word == "/etc/fluidmcp/servers.json" else word for word in container["args"]]
    env = {entry["name"]: entry.get("value", "fluidmcp-0") for entry in container["env"]}
    secret = {"FMCP_SEAL_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(), "FMCP_SECURE_TOKEN": "x" * 40}
    async with start_fluidmcp(*args, env={"HOME": str(tmp_path), **env, **secret}, cwd=tmp_path) as gateway:
        await gateway.stdout.wait_for("at https://mcp.example.com/time/mcp")
        await gateway.stop()
    assert {*map(type, map(json.loads, gateway.stderr.lines))} == {dict}


@pytest.mark.parametrize(("changed", "log_format"), [({}, "json"), ({"FMCP_LOG_FORMAT": "text"}, "text")])
def test_the_log_is_json_unless_the_operator_wants_text(changed: dict[str, str], log_format: str) -> None:
    values = {**LEAST, "env": {"FMCP_MAX_SESSIONS": 7, **changed}}
    [container] = pod_of(one(read_manifests(values), "StatefulSet"))["containers"]
    variables = [(entry["name"], entry.get("value")) for entry in container["env"]]
    assert [value for name, value in variables if name == "FMCP_LOG_FORMAT"] == [log_format]
    assert ("FMCP_MAX_SESSIONS", "7") in variables


def own_server() -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-I", str(SERVER)]}


async def test_its_envoy_finds_sessions_and_goes_on_when_a_gateway_is_killed(tmp_path: Path) -> None:
    """Names of the cluster's DNS are replaced by the addresses that they would have; all of the rest stands."""
    async with asyncio.timeout(LIMIT_SECONDS), three_gateways(tmp_path, name="fluidmcp-{}", first=0) as three:
        text = yaml.safe_dump(resolve(read_envoy(read_manifests(LEAST)), three), sort_keys=False)
        async with (
            running_envoy(tmp_path, text, {}) as authority,
            calling(three.url, authority) as http,
        ):
            sessions: dict[str, str] = {}
            while {*sessions} != {*three.ports}:
                session = await begin_session(http)
                sessions[session.partition(".")[0]] = session
            for session in sessions.values():
                # At its start Envoy asks the gateways one after the other, and begins to serve after the first.
                while await ask(http, session) != 200:
                    pass
            assert {*await asyncio.gather(*(speak_by_sse(http) for _ in range(CLIENTS)))} <= {*three.ports}
            await three.running["fluidmcp-1"].stop(with_signal=signal.SIGKILL)
            told = {name: await ask(http, session) for name, session in sessions.items()}
            assert told == {"fluidmcp-0": 200, "fluidmcp-1": 404, "fluidmcp-2": 200}
            tokens = [f"Bearer {number}" for number in range(20)]
            assert {await ask(http, authorization=token) for token in tokens} == {200}


def resolve(configuration: dict[str, Any], three: Three) -> dict[str, Any]:
    """With a certificate at the listener too, which an ingress controller has in the cluster."""
    [listener] = configuration["static_resources"]["listeners"]
    listener["address"] = {"socket_address": {"address": "127.0.0.1", "port_value": three.port}}
    [chain] = yaml.safe_load((DEPLOY / "envoy.yaml").read_text(encoding="utf-8"))["static_resources"]["listeners"][0][
        "filter_chains"
    ]
    listener["filter_chains"][0]["transport_socket"] = chain["transport_socket"]
    suffix = "fluidmcp-pods.mcp.svc.cluster.local"
    for cluster in configuration["static_resources"]["clusters"]:
        for group in cluster["load_assignment"]["endpoints"]:
            [endpoint] = group["lb_endpoints"]
            name = endpoint["endpoint"]["address"]["socket_address"]["address"]
            pod = name.removesuffix(suffix).rstrip(".")
            ports = [three.ports[pod]] if pod else list(three.ports.values())
            group["lb_endpoints"] = [at(port) for port in ports]
    return configuration


def at(port: int) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}


def test_the_two_configurations_of_envoy_differ_where_they_have_to() -> None:
    """What both say of a request is one text: only names, addresses and certificates are other ones."""
    shipped = yaml.safe_load((DEPLOY / "envoy.yaml").read_text(encoding="utf-8"))["static_resources"]
    chart = read_envoy(read_manifests(LEAST))["static_resources"]

    def managers(resources: dict[str, Any]) -> dict[str, Any]:
        [chain] = resources["listeners"][0]["filter_chains"]
        [manager] = chain["filters"]
        [host] = manager["typed_config"]["route_config"]["virtual_hosts"]
        host["routes"] = len(host["routes"])
        return manager

    assert managers(shipped) == managers(chart)

    def without_addresses(cluster: dict[str, Any]) -> dict[str, Any]:
        left_out = ("name", "load_assignment", "type", "dns_lookup_family", "dns_refresh_rate", "respect_dns_ttl")
        return {name: value for name, value in cluster.items() if name not in left_out}

    assert [without_addresses(c) for c in shipped["clusters"]] == [without_addresses(c) for c in chart["clusters"]]


def test_the_chart_has_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__
