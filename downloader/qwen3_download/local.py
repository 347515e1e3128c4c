"""What this side brings along: token, proxies, certificates. They mostly come from Secrets, so they are stripped,
checked before the hub is asked (what is wrong with them is not the hub's fault), and never shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, unquote, urlsplit

from qwen3_download.errors import Failure, Reason

TOKEN = "MODELSCOPE_API_TOKEN"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""What names the authorities to trust, as `requests` reads them: the first that is set counts."""
_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_HIDDEN = "***"
_LEAST_HIDDEN = 4
"""Characters; what is shorter is no secret, and hiding it would make every message unreadable."""


def take_token(environment: MutableMapping[str, str]) -> str:
    """The token, without the line break that a Secret made from a file ends in; empty where there is none.

    It leaves the environment: no library and no process of ours finds it there.
    """
    raw = environment.pop(TOKEN, "")
    return raw.strip().strip("\ufeff") or raw


def strip_proxies(environment: MutableMapping[str, str]) -> None:
    """Take spaces and line breaks from the ends of the proxies' variables; those that are empty then go."""
    for name in _variables(environment, (*_PROXIES, "NO_PROXY")):
        environment[name] = environment[name].strip()
        if not environment[name]:
            del environment[name]


def check(token: str, endpoint: str, environment: Mapping[str, str], *, allow_http_token: bool) -> None:
    """Raises Failure, in words without secrets, for a mistake of this side."""
    _check_endpoint(endpoint)
    if token:
        _check_token(token)
        if not allow_http_token and not endpoint.lower().startswith("https://"):
            words = "is not encrypted: a token sent there can be read on the way. Use https://, or --allow-http-token"
            raise Failure(Reason.INSECURE_ENDPOINT, f"{without_user(endpoint)} {words}")
    for name in _variables(environment, _PROXIES):
        _check_proxy(name, environment[name])
    if (name := next((name for name in CERTIFICATES if environment.get(name)), "")) != "":
        _check_certificates(name, Path(environment[name]))


def without_user(address: str) -> str:
    """An address without the user and password before its host."""
    return re.sub(r"(?<=//)[^/]*@", "", address)


class Mask:
    """Hides secrets in everything that is written, whoever puts them there: a hub's answer may repeat the token."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        shown = {form for secret in secrets for form in _forms(secret) if len(form) >= _LEAST_HIDDEN}
        longest_first = sorted(shown, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if shown else None

    @classmethod
    def of(cls, token: str, endpoint: str, environment: Mapping[str, str]) -> Mask:
        """For the token, and the passwords in the addresses of endpoint and proxies."""
        proxies = [environment[name] for name in _variables(environment, _PROXIES)]
        return cls([token, *(secret for address in (endpoint, *proxies) for secret in _passwords(address))])

    def text(self, text: str) -> str:
        return self._pattern.sub(_HIDDEN, text) if self._pattern else text

    def value(self, value: Any) -> Any:
        """JSON-like `value` with the secrets hidden in its texts."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


class MaskedStream:
    """A text stream that hides secrets: warnings and tracebacks of others go to stderr past every message of ours."""

    def __init__(self, stream: TextIO, mask: Mask) -> None:
        self._stream = stream
        self._mask = mask

    def write(self, text: str) -> int:
        self._stream.write(self._mask.text(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _variables(environment: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Those of `names` that are set, in capitals and in small letters."""
    return [spelt for name in names for spelt in (name, name.lower()) if environment.get(spelt)]


def _check_token(token: str) -> None:
    bad = next((character for character in token if not "!" <= character <= "~"), None)
    if bad is None:
        return
    if not token.strip():
        words = "holds nothing but spaces or line breaks"
    elif bad in "\r\n":
        words = "has a line break inside"
    elif bad.isspace():
        words = "has a space inside"
    else:
        words = "has a control character inside" if ord(bad) < 128 else "has a character that is not ASCII"
    raise Failure(Reason.INVALID_TOKEN, f"the token in {TOKEN} {words}: put the token alone into the Secret")


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise Failure(Reason.USAGE, f"{without_user(endpoint)} is not the address of a hub: check its host and port")


def _check_proxy(name: str, value: str) -> None:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        good = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if good and not re.search(r"[\s\x00-\x1f\x7f]", value):
        return
    words = "is not http://USER:PASSWORD@HOST:PORT; what is special in a password is written as %40 for @, %2F for /"
    raise Failure(Reason.INVALID_PROXY, f"the proxy in {name} {words}")


def _check_certificates(name: str, path: Path) -> None:
    if not path.exists():
        raise Failure(Reason.INVALID_CERTIFICATES, f"{name} names {path}, which is not there")
    if path.is_dir():
        return
    import ssl  # the one use; every start would wait for it

    try:
        ssl.create_default_context(cafile=str(path))
    except OSError as error:  # SSLError is one
        words = f"{path} in {name} holds no certificates in PEM that can be read ({error.strerror or error})"
        raise Failure(Reason.INVALID_CERTIFICATES, words) from error


def _passwords(address: str) -> list[str]:
    """The password in an address, with its user; all of an address that cannot be read."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        password = parts.password
        _ = parts.port
    except ValueError:
        return [address, address.partition("://")[2]]
    return [password, unquote(password), f"{parts.username}:{password}"] if password else []


def _forms(secret: str) -> set[str]:
    """The forms of a secret in a message: as it is, in a URL, in JSON or Python."""
    plain = secret.strip()
    return {plain, quote(plain, safe=""), quote(plain), json.dumps(plain)[1:-1], repr(plain)[1:-1]}
