"""Variables of the environment that are meant for meshlib, and that nobody hears."""

import difflib
from collections.abc import Mapping

PREFIX = "MESHLIB_"
_NAMES = """
    ACCESS_LOG ACCESS_LOG_FORMAT ADMIN ADMIN_TOKEN CA CA_DIR CA_ROOT CA_TOKEN CA_TOKEN_FILE
    CERT_DIR CLUSTER CONFIG CONTROL_PLANE CONTROL_PLANE_TLS JWKS_ALLOWED_HOSTS LAST_KNOWN_GOOD
    LAST_KNOWN_GOOD_MAX_AGE LOCALITY METRICS MTLS NAMESPACE ON_NO_CONFIG REGISTRATION_TOKEN
    RUNTIME_LAYERS SDS SERVICE TRUSTED_GATEWAYS TRUST_DOMAIN VERSION WORKLOAD
"""
PROPAGATORS = ("tracecontext", "baggage", "b3", "b3multi", "none", "")
VARIABLES = tuple(PREFIX + name for name in _NAMES.split())
ALIKE = 0.9
"""So that what Kubernetes sets for a service of this name is not taken for a slip."""


def unheard(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What is said there to no effect, ``place: what``."""
    said = [
        f"{name}: there is no such variable; did you mean {close[0]}?"
        for name in sorted(environ)
        if name.startswith(PREFIX)
        and name not in VARIABLES
        and (close := difflib.get_close_matches(name, VARIABLES, n=1, cutoff=ALIKE))
    ]
    if environ.get("MESHLIB_ACCESS_LOG_FORMAT") and not environ.get("MESHLIB_ACCESS_LOG"):
        said.append("MESHLIB_ACCESS_LOG_FORMAT: has no effect without MESHLIB_ACCESS_LOG")
    words = (word.strip() for word in environ.get("OTEL_PROPAGATORS", "").split(","))
    said += [
        f"OTEL_PROPAGATORS: {word!r} has no effect on what the mesh hands on"
        for word in words
        if word not in PROPAGATORS
    ]
    return tuple(said)
