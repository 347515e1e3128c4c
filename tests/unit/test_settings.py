"""Settings from environment variables."""

from __future__ import annotations

import pytest

from qwen3_operator.controller.environment import SettingsError
from qwen3_operator.settings import PREFIX, Settings

GOOD = {
    "namespaces": ("a, b,", ("a", "b")),
    "engine_image": ("example/vllm:1", "example/vllm:1"),
    "image_registry": ("mirror.example:5000/hub", "mirror.example:5000/hub"),
    "engine_version": ("0.33.0", "0.33.0"),
    "engine_host": ("::", "::"),
    "pod_ids": ("platform", "platform"),
    "downloader_image": ("example/download:1", "example/download:1"),
    "image_pull_secrets": ("one,two", ("one", "two")),
    "hub_endpoint": ("https://mirror.example", "https://mirror.example"),
    "insecure_endpoints": ("hub.lan:8080, http://10.0.0.1", ("hub.lan:8080", "http://10.0.0.1")),
    "token_endpoints": ("modelscope.cn,https://hub.example", ("modelscope.cn", "https://hub.example")),
    "read_secrets": ("true", True),
    "read_cluster": ("false", False),
    "gateway": ("true", True),
    "endpoint_picker": ("true", True),
    "http_proxy": ("http://proxy.example:3128", "http://proxy.example:3128"),
    "https_proxy": ("http://proxy.example:3128", "http://proxy.example:3128"),
    "no_proxy": ("10.0.0.0/8,.svc", "10.0.0.0/8,.svc"),
    "proxy_secret": ("proxy", "proxy"),
    "ca_bundle_config_map": ("trusted", "trusted"),
    "ca_bundle_key": ("bundle.pem", "bundle.pem"),
    "download_retry_seconds": ("0.5", 0.5),
    "prometheus_address": ("http://prometheus:9090/base", "http://prometheus:9090/base"),
    "front_service": ("qwen3-system/front", "qwen3-system/front"),
    "front_first_port": ("30000", 30000),
    "front_ports": ("16", 16),
    "cluster_domain": ("example.org", "example.org"),
    "workers": ("4", 4),
    "resync_seconds": ("12.5", 12.5),
    "http_port": ("9090", 9090),
    "http_host": ("127.0.0.1", "127.0.0.1"),
    "lease_namespace": ("infra", "infra"),
    "lease_name": ("", ""),
    "standby": ("true", True),
    "identity": ("me", "me"),
    "log_format": ("json", "json"),
    "log_level": ("DEBUG", "DEBUG"),
}
BAD = {
    "workers": ["0", "257", "many", ""],
    "resync_seconds": ["0", "-1", "soon"],
    "download_retry_seconds": ["0", "-1", "soon"],
    "insecure_endpoints": ["https://hub.example", "http://hub.example/base", "hub example", "user@hub"],
    "token_endpoints": ["*", "ftp://hub.example", "https://hub.example/base"],
    "read_secrets": ["perhaps"],
    "image_registry": ["mirror.example/", "mirror.example/x@sha256:1", "mirror example"],
    "read_cluster": ["perhaps"],
    "gateway": ["edge/public"],
    "standby": ["perhaps"],
    "http_proxy": ["http://me:pass@proxy.example:3128", "http://me@proxy.example"],
    "https_proxy": ["http://me:pass@proxy.example:3128"],
    "proxy_secret": ["Not A Name"],
    "prometheus_address": ["prometheus:9090", "http://me:pass@prometheus", "http://a b"],
    "front_service": ["front", "ns/Front", "a/b/c"],
    "front_first_port": ["0", "65536"],
    "front_ports": ["0", "10001"],
    "http_port": ["-1", "65536", "http"],
    "engine_version": ["v0.33.0", "nightly"],
    "engine_host": ["", "server.example"],
    "pod_ids": ["openshift"],
    "log_format": ["xml"],
    "log_level": ["debug", "LOUD"],
}


def test_every_setting_is_covered_here() -> None:
    assert set(Settings.model_fields) == set(GOOD)


@pytest.mark.parametrize("field", sorted(GOOD))
def test_each_variable_is_read(field: str) -> None:
    text, value = GOOD[field]
    assert getattr(Settings.from_environment({f"{PREFIX}{field.upper()}": text}), field) == value


@pytest.mark.parametrize(("field", "text"), [(field, text) for field, texts in BAD.items() for text in texts])
def test_an_error_names_the_variable(field: str, text: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{PREFIX}{field.upper()}: "):
        Settings.from_environment({f"{PREFIX}{field.upper()}": text})


def test_every_error_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({f"{PREFIX}WORKERS": "0", f"{PREFIX}HTTP_PORT": "x"})
    assert "WORKERS" in str(error.value) and "HTTP_PORT" in str(error.value)


def test_an_error_never_shows_the_value() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({f"{PREFIX}HTTPS_PROXY": "http://me:hunter2@proxy.example:3128"})
    assert "proxySecret" in str(error.value)
    assert "hunter2" not in f"{error.value!r} {error.value.__cause__} {error.value.__cause__!r}"


def test_a_proxy_is_named_once() -> None:
    both = {f"{PREFIX}HTTPS_PROXY": "http://proxy.example:3128", f"{PREFIX}PROXY_SECRET": "proxy"}
    with pytest.raises(SettingsError, match=f"^{PREFIX}PROXY_SECRET: .*excludes"):
        Settings.from_environment(both)
    beside = {f"{PREFIX}NO_PROXY": ".svc", f"{PREFIX}PROXY_SECRET": "proxy"}
    assert Settings.from_environment(beside).no_proxy == ".svc"


def test_an_unknown_variable_is_an_error() -> None:
    with pytest.raises(SettingsError, match="QWEN3_OPERATOR_WORKER: "):
        Settings.from_environment({f"{PREFIX}WORKER": "4"})


def test_other_variables_do_not_matter() -> None:
    assert Settings.from_environment({"PATH": "/bin", "workers": "0"}) == Settings.from_environment({})


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_operators_own_choice_of_the_engine_comes_from_the_mirror() -> None:
    mirror = {f"{PREFIX}IMAGE_REGISTRY": "mirror.example:5000/hub"}
    chosen = Settings.from_environment(mirror).engine_image
    assert chosen == f"mirror.example:5000/hub/{Settings().engine_image}"
    named = mirror | {f"{PREFIX}ENGINE_IMAGE": "registry.example/vllm:v0.33.0"}
    assert Settings.from_environment(named).engine_image == "registry.example/vllm:v0.33.0"
