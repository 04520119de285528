"""What is worth saying about a manifest. The numbers are Istio's where Istio has one."""

from dataclasses import dataclass
from typing import Any, Literal

from ...errors import Place, Problem

Severity = Literal["error", "warning", "info"]

UNREADABLE = "ML0100"  # not YAML, or YAML that is refused
UNKNOWN_HOST = "ML0101"
UNSUPPORTED = "ML0105"
SCHEMA = "ML0106"
UNKNOWN_SUBSET = "ML0107"
HOST_CONFLICT = "ML0109"
WEIGHTS = "ML0110"
UNREACHABLE_RULE = "ML0130"
UNKNOWN_DELEGATE = "ML0101"
MTLS_CONFLICT = "ML0113"
UNKNOWN_PROVIDER = "ML0101"
DUPLICATE_MATCH = "ML0131"
UNKNOWN_TELEMETRY_PROVIDER = "ML0157"
OVERLAPPING_TELEMETRIES = "ML0159"  # of some workloads
SEVERAL_TELEMETRIES = "ML0160"  # for the same workloads
EMPTY_SUBSET = "ML0173"
UNKNOWN_RULE_HOST = "ML0174"
REGEX = "ML0180"
NOT_ACTED_ON = "ML1001"  # accepted, and without effect for now
SHADOWED_HOST = "ML1002"
UNUSABLE_ENDPOINT = "ML1003"
AVOIDABLE = "ML1004"  # a policy that can be got around
NEVER_MATCHES = "ML1005"
NOT_REQUIRED = "ML1006"  # tokens that are verified, and that nobody has to have
FOREIGN_HOST = "ML1007"
NO_KEYS = "ML1008"  # an issuer of whom no token can be verified
OTHER_TRUST_DOMAIN = "ML1009"  # than that of the CA
ANY_ACCOUNT = "ML1010"  # may stand for a service whose callers ask for certificates
EXPRESSION = "ML1011"  # of CEL, which is none
SHOWN_TO_READERS = "ML1012"  # in a log
OUTSIDE = "ML1013"  # of the mesh, though it has a name of those inside


LONGEST = 500
"""Characters of one part of a finding that are shown."""


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    severity: Severity
    place: Place
    resource: str
    message: str
    hint: str = ""

    def __post_init__(self) -> None:
        """It is one line of a log, whatever the manifest has in its names and values."""
        for part in ("resource", "message", "hint"):
            said = getattr(self, part)
            if not said.isprintable() or len(said) > LONGEST:
                shown = "".join(map(_printable, said[:LONGEST]))
                object.__setattr__(self, part, shown + "…" * (len(said) > LONGEST))

    def to_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "severity": self.severity,
            "place": str(self.place),
            "resource": self.resource,
            "message": self.message,
            "hint": self.hint,
        }

    @property
    def problem(self) -> Problem:
        said = f"{self.resource}: {self.message}" if self.resource else self.message
        return Problem(str(self.place), f"{said} ({self.hint})" if self.hint else said)


def _printable(letter: str) -> str:
    if letter == "\n":
        return " "
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()
