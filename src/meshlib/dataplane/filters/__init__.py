"""The stages between a listener and an upstream, or a listener and the application's handler."""

from . import (
    adaptive_concurrency,
    admission_control,
    cors,
    ext_authz,
    fault,
    global_rate_limit,
    jwt_authn,
    local_rate_limit,
    rbac,
    undiscovered,
)

__all__ = [
    "adaptive_concurrency",
    "admission_control",
    "cors",
    "ext_authz",
    "fault",
    "global_rate_limit",
    "jwt_authn",
    "local_rate_limit",
    "rbac",
    "undiscovered",
]
