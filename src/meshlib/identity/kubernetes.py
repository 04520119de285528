"""Tokens of Kubernetes service accounts, as the cluster's API server judges them."""

import asyncio
import json
import os
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

from .authenticators import UnauthenticatedError

MOUNTED = Path("/var/run/secrets/kubernetes.io/serviceaccount")
AUDIENCES = ("meshlib-ca", "istio-ca")
PREFIX = "system:serviceaccount:"
PATIENCE = 5.0
LARGEST = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServer:
    """``token_file``: our own token, which must be allowed to create TokenReviews."""

    url: str
    token_file: Path
    roots_file: Path
    audiences: tuple[str, ...] = AUDIENCES

    @classmethod
    def of_pod(cls, environ: Mapping[str, str] = os.environ) -> "ApiServer | None":
        """That of the cluster in which this runs; ``None`` outside of one."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not (MOUNTED / "token").exists():
            return None
        shown = f"[{host}]" if ":" in host else host
        url = f"https://{shown}:{port or 443}"
        return cls(url=url, token_file=MOUNTED / "token", roots_file=MOUNTED / "ca.crt")

    async def review(self, token: str) -> tuple[str, str]:
        """Namespace and account of a token for one of our audiences.

        Raises :class:`UnauthenticatedError`: without a word of the API server nobody is let in.
        """
        try:
            answer = await asyncio.to_thread(self._post, token)
        except (OSError, URLError, ValueError) as error:
            raise UnauthenticatedError("the cluster could not be asked about the token") from error
        return self._read(answer)

    def _post(self, token: str) -> Any:
        spec = {"token": token, "audiences": list(self.audiences)}
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        own = self.token_file.read_text(encoding="ascii").strip()
        request = urllib.request.Request(  # noqa: S310 - https, as of_pod() has it
            f"{self.url}/apis/authentication.k8s.io/v1/tokenreviews",
            json.dumps(review).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {own}"},
        )
        context = ssl.create_default_context(cafile=str(self.roots_file))
        with urllib.request.urlopen(request, timeout=PATIENCE, context=context) as answer:  # noqa: S310
            return json.loads(answer.read(LARGEST))

    def _read(self, answer: Any) -> tuple[str, str]:
        status = answer.get("status") if isinstance(answer, dict) else None
        status = status if isinstance(status, dict) else {}
        meant = status.get("audiences") or ()
        if status.get("authenticated") is not True or not set(meant) & set(self.audiences):
            raise UnauthenticatedError("the service account's token is refused")
        name = str((status.get("user") or {}).get("username", ""))
        namespace, _, account = name.removeprefix(PREFIX).partition(":")
        if not name.startswith(PREFIX) or not namespace or not account:
            raise UnauthenticatedError("the token is not that of a service account")
        return namespace, account
