"""``extensionProviders`` that are told of calls, by name."""

from ..manifests.extension_provider import ExtensionProvider
from ..manifests.telemetry_provider import Collector, EnvoyFileAccessLog, Prometheus
from ..world import MeshSettings
from .names import cluster_name
from .view import View

BUILT_IN = (
    ExtensionProvider(name="prometheus", prometheus=Prometheus()),
    ExtensionProvider(name="envoy", envoy_file_access_log=EnvoyFileAccessLog(path="/dev/stdout")),
)
"""Those that Istio has in any case."""


def provider_of(mesh: MeshSettings, name: str) -> ExtensionProvider | None:
    """Whatever the case of the letters, as in Istio."""
    known = (*mesh.extension_providers, *BUILT_IN)
    return next((one for one in known if one.name.lower() == name.lower()), None)


def collector_cluster(view: View, said: Collector) -> str | None:
    """The cluster of the service; ``None`` where there is no such service."""
    service = view.service(said.host)
    if service is None or not service.is_known or service.port(said.port) is None:
        return None
    return cluster_name(said.host, said.port)
