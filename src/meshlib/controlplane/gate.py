"""Who calls the control plane, and whether as the one that the caller says to be."""

from typing import Any

import grpc

from ..errors import MeshError
from ..identity.authenticators import Caller
from .node import Node


class DeniedError(MeshError):
    """A caller that is not let in."""

    def __init__(self, code: grpc.StatusCode, said: str) -> None:
        super().__init__(said)
        self.code = code


class Gate:
    """Without identities: everybody may be whom they say to be."""

    def caller(self, grpc_call: Any) -> Caller:
        return Caller(grpc_call.peer())

    def admit(self, grpc_call: Any) -> Caller:
        """Raises :class:`DeniedError`."""
        return self.caller(grpc_call)

    def check(self, caller: Caller, node: Node) -> None:
        """Raises :class:`DeniedError` where the node is said to be what the caller is not."""

    def check_namespace(self, caller: Caller, namespace: str) -> None:
        """Raises :class:`DeniedError`."""

    def account(self, caller: Caller) -> str:
        """The service account that is proven; "" where nothing is."""
        return ""

    def left(self, caller: Caller) -> float | None:
        """Seconds for which the caller's certificate holds; ``None``: for ever."""
        return None


class MembersOnly(Gate):
    """With a CA: who comes must have a certificate, and is what it says."""

    def admit(self, grpc_call: Any) -> Caller:
        caller = self.caller(grpc_call)
        if caller.leaf is None:
            said = caller.refusal or "a certificate of this mesh is required"
            raise DeniedError(grpc.StatusCode.UNAUTHENTICATED, said)
        return caller

    def check(self, caller: Caller, node: Node) -> None:
        self.check_namespace(caller, node.namespace)
        _, account = member(caller)
        if node.service_account not in ("", account):
            raise _denied(caller, f"the account {node.service_account!a}")

    def check_namespace(self, caller: Caller, namespace: str) -> None:
        if member(caller)[0] != namespace:
            raise _denied(caller, f"of the namespace {namespace!a}")

    def account(self, caller: Caller) -> str:
        return member(caller)[1]


def member(caller: Caller) -> tuple[str, str]:
    """Namespace and account; raises :class:`DeniedError` for an id that has none."""
    found = caller.spiffe_id
    match found.path.split("/")[1:] if found is not None else []:
        case ["ns", namespace, "sa", account]:
            return namespace, account
        case _:
            raise _denied(caller, "a member: its id is not /ns/NAMESPACE/sa/ACCOUNT")


def _denied(caller: Caller, what: str) -> DeniedError:
    who = caller.leaf.spiffe_id if caller.leaf is not None else caller.address
    return DeniedError(grpc.StatusCode.PERMISSION_DENIED, f"{who} is not {what}")
