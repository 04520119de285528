"""The type URLs of the resources that xDS carries."""

EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
RUNTIME = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - its name
