"""``RequestMirrorPolicy`` ⇄ :class:`RequestMirrorPolicy`."""

from ...model import ALWAYS, RequestMirrorPolicy
from .runtime import decode_runtime_percentage, encode_runtime_percentage
from .wire import Fields, Reader

Mirrors = tuple[RequestMirrorPolicy, ...]


def encode_mirrors(policies: Mirrors) -> list[Fields]:
    return [
        {
            "cluster": policy.cluster,
            "runtime_fraction": encode_runtime_percentage(policy.runtime_fraction),
            "disable_shadow_host_suffix_append": policy.disable_shadow_host_suffix_append,
        }
        for policy in policies
    ]


def decode_mirrors(holder: Reader) -> Mirrors:
    found = (_decode_mirror(one) for one in holder.children("request_mirror_policies"))
    return tuple(policy for policy in found if policy is not None)


def _decode_mirror(reader: Reader) -> RequestMirrorPolicy | None:
    if reader.has("cluster_header"):
        reader.drop()
        return None
    return RequestMirrorPolicy(
        cluster=reader.text("cluster", required=True),
        runtime_fraction=decode_runtime_percentage(reader, "runtime_fraction", ALWAYS),
        disable_shadow_host_suffix_append=reader.flag("disable_shadow_host_suffix_append"),
    )
