"""Through a company's proxy, by a company's certificates: the program with just the arguments, the environment and the
files that a pod of the Job has."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hub.process import HubProcess
from hub.tls import make_certificates
from tests.download.conftest import MIB, MODEL, Setup
from tests.download.proxies import opening_tls, tinyproxy

from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.desired.download import Step, model_job
from qwen3_operator.naming import MODELS_DIR, model_path
from qwen3_operator.settings import Settings

pytestmark = pytest.mark.download
Serve = Callable[..., HubProcess]
Object = dict[str, Any]
USER, PASSWORD = "downloads", "s3cret-Zq9"
HARD, ESCAPED = "p@ss/w:rd %9", "p%40ss%2Fw%3Ard%20%259"
TOKEN = "tk-Zq9-t0ken"


@dataclass(frozen=True)
class Ended:
    """How the container ended."""

    code: int
    report: Object
    written: str


@dataclass
class Pod:
    """What the Job's template asks of the cluster, in a folder: the volumes, the Secrets, the ConfigMaps."""

    setup: Setup
    spec: Object
    settings: Settings
    secrets: dict[str, dict[str, str]]
    config_maps: dict[str, dict[str, str]]

    @property
    def folder(self) -> Path:
        return self.setup.folder / "pod"

    def run(self, step: Step = Step.DOWNLOAD) -> Ended:
        """Run the container of a step's Job as a kubelet would."""
        spec = Qwen3ModelSpec.model_validate(self.spec)
        job = model_job("team", "weights", "uid", spec, self.settings, step)
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        places = {m["mountPath"]: self._mounted(pod, m["name"]) for m in container["volumeMounts"]}
        log = self.setup.folder / "termination-log"
        words = [self._inside(word, places) for word in container["args"]]
        # An image has its own PATH and packages; the log is where the kubelet reads it.
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment |= {"QWEN3_DOWNLOAD_TERMINATION_LOG": str(log)} | self._environment(container, places)
        done = subprocess.run(
            [sys.executable, "-m", "qwen3_download", *words, "--give-up-after=1"],
            env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        written = done.stdout + done.stderr
        return Ended(done.returncode, json.loads(log.read_text()) if log.exists() else {}, written)

    def _mounted(self, pod: Object, name: str) -> Path:
        """The folder of a volume, with what a ConfigMap puts there."""
        (volume,) = (v for v in pod["volumes"] if v["name"] == name)
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if source := volume.get("configMap"):
            for item in source["items"]:
                (folder / item["path"]).write_text(self.config_maps[source["name"]][item["key"]])
        return folder

    def _environment(self, container: Object, places: dict[str, Path]) -> dict[str, str]:
        found = {}
        for variable in container["env"]:
            if "value" in variable:
                found[variable["name"]] = self._inside(variable["value"], places)
                continue
            reference = variable["valueFrom"]["secretKeyRef"]
            value = self.secrets.get(reference["name"], {}).get(reference["key"])
            assert value is not None or reference.get("optional"), reference
            if value is not None:
                found[variable["name"]] = value
        return found

    def _inside(self, word: str, places: dict[str, Path]) -> str:
        """A word with the container's paths as they are here."""
        for path, folder in places.items():
            flag, _, value = word.rpartition("=")
            if value == path or value.startswith(f"{path}/"):
                return f"{flag}=" * bool(flag) + f"{folder}{value.removeprefix(path)}"
        return word

    def assert_complete(self) -> None:
        """The volume has the source's bytes where the operator expects them."""
        target = self.folder / "models" / model_path(Qwen3ModelSpec.model_validate(self.spec))
        for path in self.setup.source.iterdir():
            assert (target / path.name).read_bytes() == path.read_bytes()


@pytest.fixture
def pod(setup: Setup, serve: Serve) -> Pod:
    """A model of two files on a hub whose certificate only the company's authority knows."""
    setup.write(model_1=2 * MIB, model_2=MIB)
    hub = serve("--token", TOKEN, tls=True)
    assert hub.ca is not None
    spec = {
        "id": MODEL,
        "endpoint": hub.url,
        "tokenSecretRef": {"name": "hub-token", "key": "token"},
        "download": {"caBundleConfigMapKeyRef": {"name": "company-ca", "key": "bundle.pem"}},
    }
    settings = Settings(downloader_image="downloader:1", proxy_secret="egress-proxy", no_proxy=".svc")
    secrets = {"hub-token": {"token": TOKEN}}
    return Pod(setup, spec, settings, secrets, {"company-ca": {"bundle.pem": hub.ca.read_text()}})


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_certificates_of_the_model_are_trusted_and_no_others(pod: Pod, tmp_path: Path) -> None:
    """Without the proxy's Secret, which is optional, the hub is asked directly."""
    (tmp_path / "other").mkdir()
    other, _ = make_certificates(tmp_path / "other")
    bundle = pod.config_maps["company-ca"]["bundle.pem"]
    pod.config_maps["company-ca"]["bundle.pem"] = other.read_text()
    ended = pod.run(Step.LIST)
    assert (ended.code, ended.report["reason"]) == (30, "HubUnavailable")
    assert "certificate" in ended.report["message"].lower()
    pod.config_maps["company-ca"]["bundle.pem"] = bundle
    assert pod.run(Step.LIST).code == 0
    assert pod.run().report["result"] == "Complete"
    pod.assert_complete()


def test_those_of_the_operators_settings_stand_in(pod: Pod) -> None:
    del pod.spec["download"]
    changed = {"ca_bundle_config_map": "company-ca", "ca_bundle_key": "bundle.pem"}
    pod.settings = pod.settings.model_copy(update=changed)
    assert pod.run().report["result"] == "Complete"


def test_tinyproxy_with_the_password_of_the_secret(pod: Pod) -> None:
    hub = port_of(pod.spec["endpoint"])
    with tinyproxy(pod.setup.folder, hub, user=USER, password=PASSWORD) as proxy:
        pod.secrets["egress-proxy"] = {"HTTPS_PROXY": proxy.url.replace(PASSWORD, "wrong")}
        ended = pod.run(Step.LIST)
        assert (ended.code, ended.report["reason"]) == (30, "ProxyUnavailable"), ended.written
        assert proxy.connections == 0
        pod.secrets["egress-proxy"] = {"HTTPS_PROXY": proxy.url}
        for step in (Step.LIST, Step.DOWNLOAD, Step.REPAIR):
            ended = pod.run(step)
            assert ended.code == 0, ended.written
            assert PASSWORD not in ended.written and TOKEN not in ended.written
        pod.assert_complete()
        assert proxy.connections >= 2


def test_a_proxy_that_opens_tls_and_signs_for_the_hub_itself(pod: Pod, tmp_path: Path) -> None:
    """The company's bundle has the proxy's authority alone: whoever went around the proxy would trust nobody."""
    (tmp_path / "proxy").mkdir()
    authority, certificate = make_certificates(tmp_path / "proxy")
    sites = ssl.create_default_context(cadata=pod.config_maps["company-ca"]["bundle.pem"])
    pod.config_maps["company-ca"]["bundle.pem"] = authority.read_text()
    assert pod.run(Step.LIST).report["reason"] == "HubUnavailable", "not its certificate"
    with opening_tls(certificate, sites, user=USER, secret=HARD, escaped=ESCAPED) as proxy:
        pod.secrets["egress-proxy"] = {"HTTPS_PROXY": f"{proxy.url}\n"}
        ended = pod.run()
        assert ended.report.get("result") == "Complete", ended.written
        assert HARD not in ended.written and ESCAPED not in ended.written
        assert proxy.connections >= 2 and set(proxy.connected) == {pod.spec["endpoint"].removeprefix("https://")}
        pod.assert_complete()
    assert pod.setup.hub is not None and all(entry["authorization"] for entry in pod.setup.hub.log())


def test_what_is_to_go_past_the_proxy_does(pod: Pod) -> None:
    pod.settings = pod.settings.model_copy(update={"no_proxy": "127.0.0.1"})
    pod.secrets["egress-proxy"] = {"HTTPS_PROXY": "http://me:x@127.0.0.1:9"}
    assert pod.run().report["result"] == "Complete"


def test_removing_asks_neither_proxy_nor_hub(pod: Pod) -> None:
    assert pod.run().report["result"] == "Complete"
    pod.secrets.clear()
    job = model_job("t", "w", "u", Qwen3ModelSpec.model_validate(pod.spec), pod.settings, Step.REMOVE)
    assert "secretKeyRef" not in json.dumps(job) and MODELS_DIR in json.dumps(job)
