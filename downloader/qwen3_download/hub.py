"""A repository on the hub: revision, listing, addresses. The only module that imports the ModelScope client.

What the hub answers as it should is read here. Whatever else it answers (an error, too long a list, a page of a proxy,
nothing) is left to the client, which asks again in its own way and knows what to make of it.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote_plus

from qwen3_download import local
from qwen3_download.errors import Failure, Reason
from qwen3_download.listing import COMMIT, Listing, RemoteFile, digest, newest_commit, parse

if TYPE_CHECKING:
    from qwen3_download.ask import Asker

_PROXY_WANTS_PASSWORD = 407


class Hub:
    """One repository on one hub."""

    def __init__(self, model: str, endpoint: str, token: str, *, allow_http_token: bool = False) -> None:
        """Raises Failure for a token, proxy or certificates that cannot be used, before anything is sent."""
        if os.environ.get("SSL_CERT_FILE"):  # requests does not know it
            os.environ.setdefault("REQUESTS_CA_BUNDLE", os.environ["SSL_CERT_FILE"])
        local.check(token, endpoint, os.environ, allow_http_token=allow_http_token)
        self.model = model
        self.endpoint = endpoint.rstrip("/")
        self._token = token
        self._allow_http_token = allow_http_token
        self._api = f"{self.endpoint}/api/v1/models/{model}"

    def resolve(self, revision: str) -> Listing:
        """Resolve `revision` (branch, tag or commit) to a commit and list it.

        The client has no call that names a branch's commit, but every listed file carries the commit that touched it
        last. The newest of them is taken when the hub lists the very same files for it, so that a branch that moves
        during the download does no harm. Otherwise the content's own digest stands for the commit.

        Raises Failure: ModelNotFound, RevisionNotFound, Unauthorized, InvalidRepository, HubUnavailable.
        """
        from qwen3_download.ask import Asker  # libcurl: only now, for a complete folder needs none
        from qwen3_download.fetch import Network

        network = Network(ca=Network.trusted_authorities(os.environ), stall_seconds=15)
        with Asker(network, self.headers()) as asker:
            entries = self._entries(asker, revision)
            files = parse(entries)
            if COMMIT.fullmatch(revision):
                return Listing(revision, revision, files)
            commit = newest_commit(entries)
            if commit and self._same_at(asker, commit, files):
                return Listing(commit, commit, files)
            return Listing(digest(files), revision, files)

    def file_url(self, path: str, revision: str) -> str:
        """Where the bytes of a file are (the hub may redirect)."""
        return f"{self._api}/repo?Revision={quote_plus(revision)}&FilePath={quote_plus(path)}"

    def headers(self) -> dict[str, str]:
        """Headers for the endpoint itself, never for the host of a redirect."""
        if not self._token:
            return {}
        return {"Authorization": f"Bearer {self._token}", "Cookie": f"m_session_id={self._token}"}

    def _same_at(self, asker: Asker, commit: str, files: tuple[RemoteFile, ...]) -> bool:
        try:
            return parse(self._entries(asker, commit)) == files
        except Failure as failure:
            if failure.reason in (Reason.MODEL_NOT_FOUND, Reason.REVISION_NOT_FOUND, Reason.INVALID_REPOSITORY):
                return False
            raise

    def _entries(self, asker: Asker, revision: str) -> list[Mapping[str, Any]]:
        plain = asker.entries(f"{self._api}/repo/files?Revision={quote_plus(revision)}&Recursive=True")
        return self._entries_of_client(revision) if plain is None else plain

    @cached_property
    def _client(self) -> Any:
        prepare_environment(self.endpoint)
        from modelscope_hub import HubApi  # which reads the environment as it is imported

        # Importing it sets up its own logging; its retries are reported as ours.
        logging.getLogger("modelscope_hub").setLevel(logging.ERROR)
        client = HubApi(endpoint=self.endpoint, token=self._token)
        if self._token and not self._allow_http_token:
            _keep_to_https(client.legacy)
        return client

    def _entries_of_client(self, revision: str) -> list[Mapping[str, Any]]:
        client = self._client
        from modelscope_hub import errors

        where = f"{self.model} at revision {revision} on {self.endpoint}"
        try:
            entries = client.legacy.list_repo_files(self.model, "model", revision=revision)
        except errors.NotExistError as error:
            raise self._not_found(error, revision) from error
        except (errors.AuthenticationError, errors.PermissionDeniedError) as error:
            raise Failure(Reason.UNAUTHORIZED, f"{self._refused()}: {where} ({error.message})") from error
        except errors.HubError as error:
            raise _unavailable(error, where) from error
        # Not JSON, or JSON of another shape or depth.
        except (ValueError, AttributeError, TypeError, LookupError, RecursionError) as error:
            raise Failure(
                Reason.HUB_UNAVAILABLE,
                f"cannot list {where}: the answer is not ModelScope's (a proxy's page, or not a hub?): {error}",
            ) from error
        except OSError as error:  # requests' exceptions
            raise _unavailable(error, where) from error
        return cast("list[Mapping[str, Any]]", entries)

    def _not_found(self, error: Any, revision: str) -> Failure:
        where = f"on {self.endpoint}"
        if not isinstance(error.response_body, dict):  # not the hub's own words: a proxy, or no hub at all
            text = f"cannot list {self.model} {where}: HTTP 404 that is not the hub's; is the endpoint right?"
            return Failure(Reason.HUB_UNAVAILABLE, text)
        try:
            known = [str(r.get("Revision")) for r in self._client.list_repo_revisions(self.model, "model")]
        except Exception:  # the second question only sharpens the message
            known = []
        if known:
            text = f"{self.model} has no revision {revision!r} {where}; it has {', '.join(known[:10])}"
            return Failure(Reason.REVISION_NOT_FOUND, text)
        hint = "" if self._token else ", or it is private and needs a token"
        return Failure(Reason.MODEL_NOT_FOUND, f"there is no model {self.model!r} {where}{hint}")

    def _refused(self) -> str:
        return "the token is not accepted for" if self._token else "a token is needed for"


def prepare_environment(endpoint: str) -> None:
    """Settings that the client takes from the environment only, before its first import."""
    import tempfile

    os.environ["MODELSCOPE_ENDPOINT"] = endpoint  # also switches off its probe of a second site
    # A home of our own: HOME may be `/`, and a log-in kept in the user's home must not stand in for the token given.
    home = tempfile.mkdtemp(prefix="qwen3-download-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["MODELSCOPE_HOME"] = os.environ["MODELSCOPE_CACHE"] = home


def _keep_to_https(client: Any) -> None:
    """Follow no redirect to http://: the client's cookie, which is the token, would go there."""
    import requests

    class Refused(requests.adapters.BaseAdapter):
        def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
            words = "the hub redirects there, where a token can be read on the way: nothing was sent"
            raise Failure(Reason.INSECURE_ENDPOINT, f"{str(request.url).partition('?')[0]}: {words}")

        def close(self) -> None:
            pass

    for session in vars(client).values():
        if isinstance(session, requests.Session):
            session.mount("http://", Refused())


def _unavailable(error: BaseException, where: str) -> Failure:
    """The hub did not answer, or a proxy between us and it did not let us through."""
    import requests

    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in _causes(error)):
        return Failure(Reason.PROXY_UNAVAILABLE, f"the proxy on the way to {where} fails: {root_cause(error)}")
    if getattr(error, "status_code", None) == _PROXY_WANTS_PASSWORD:
        return Failure(Reason.PROXY_UNAVAILABLE, f"the proxy on the way to {where} wants another user or password")
    return Failure(Reason.HUB_UNAVAILABLE, f"cannot list {where}: {root_cause(error)}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def root_cause(error: BaseException) -> str:
    """What the operating system or the hub said, out of the layers that client, requests and urllib3 put around it."""
    while True:
        inner = getattr(error, "reason", None) or error.__cause__ or next(iter(error.args), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return (str(error).splitlines() or [type(error).__name__])[0][:500]
