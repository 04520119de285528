"""Documents → :class:`World`, with everything that is wrong with them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..world import MeshSettings, World
from .common import Metadata
from .decode import decode, did_you_mean
from .finding import SCHEMA, UNREADABLE, UNSUPPORTED, Finding, Severity
from .kinds import (
    KUBERNETES_CORE,
    OTHER_ISTIO,
    SUPPORTED,
    expected_api_version,
    group_and_version,
    is_istio,
    version_is_known,
)
from .manifest import Manifest
from .marks import (
    BareMarks,
    EnclosedMarks,
    Marks,
    OpaqueMarks,
    Path,
    PlainMarks,
    YamlMarks,
    dotted,
)
from .memory import Memory, Part, copied, plain
from .piece import Flaw
from .reader import Unreadable, read


class Loading:
    """Takes texts and documents; ``world`` and ``findings`` are what came of them.

    ``memory`` has those that were read before.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        self.findings: list[Finding] = []
        self._manifests: dict[tuple[str, str, str], Manifest[Any]] = {}
        self._memory = memory or Memory()
        self._memory.begin()

    def text(self, text: str, file: str) -> None:
        """Every document of a YAML text; after a syntax error the rest is not read."""
        part = self._memory.get((file, text))
        if part is None:
            reading = _Reading()
            reading.text(text, file)
            part = reading.part
            self._memory.put((file, text), part)
        self._take(part)

    def document(self, document: Mapping[str, Any], name: str) -> None:
        """A manifest that is a dict already, called ``name`` in what is said of it."""
        encoded = plain(document)
        part = self._memory.get((name, encoded)) if encoded is not None else None
        if part is None:
            reading = _Reading()
            own = document if encoded is None else copied(encoded)
            reading.document(own, PlainMarks(name))
            part = reading.part
            if encoded is not None:
                self._memory.put((name, encoded), part)
        self._take(part)

    def _take(self, part: Part) -> None:
        self.findings += part.findings
        for made in part.manifests:
            is_mesh = made.kind == "MeshConfig"
            key = ("MeshConfig",) * 3 if is_mesh else (made.kind, made.namespace, made.name)
            first = self._manifests.setdefault(key, made)
            if first is not made:
                said = f"stands twice, first at {first.place}"
                flaw = Flaw((), said, "remove or rename one")
                self.findings.append(_finding(made.marks, str(made), flaw))

    def world(self) -> World:
        def of(kind: str) -> tuple[Manifest[Any], ...]:
            return tuple(m for m in self._manifests.values() if m.kind == kind)

        config = next(iter(of("MeshConfig")), None)
        return World(
            services=of("Service"),
            service_entries=of("ServiceEntry"),
            workload_entries=of("WorkloadEntry"),
            virtual_services=of("VirtualService"),
            destination_rules=of("DestinationRule"),
            envoy_filters=of("EnvoyFilter"),
            gateways=of("Gateway"),
            peer_authentications=of("PeerAuthentication"),
            request_authentications=of("RequestAuthentication"),
            authorization_policies=of("AuthorizationPolicy"),
            telemetries=of("Telemetry"),
            mesh_config=MeshSettings() if config is None else config.spec.settings,
            mesh_manifest=config,
            remarks=tuple(f for f in self.findings if f.severity != "error"),
        )


class _Reading:
    """One text, or one document."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._manifests: list[Manifest[Any]] = []

    @property
    def part(self) -> Part:
        return Part(tuple(self._manifests), tuple(self._findings))

    def text(self, text: str, file: str) -> None:
        try:
            for node in read(text, file):
                self.document(node.value, YamlMarks(file, node))
        except Unreadable as error:
            self._findings.append(Finding(UNREADABLE, "error", error.place, "", error.why))

    def document(self, document: Any, marks: Marks) -> None:
        if not isinstance(document, Mapping):
            self._say(marks, "", Flaw((), "a manifest is a mapping with kind and metadata"))
            return
        kind = document.get("kind")
        if not isinstance(kind, str) or not kind:
            self._say(marks, "", Flaw((), "kind is missing"))
        elif kind == "List" and isinstance(document.get("items"), list | tuple):
            for index, item in enumerate(document["items"]):
                self.document(item, EnclosedMarks(marks, ("items", index)))
        elif kind == "ConfigMap" and _name_of(document) == "istio":
            self._config_map(document, marks)
        elif kind == "IstioOperator":
            self._operator(document, marks)
        elif kind in SUPPORTED:
            self._supported(kind, document, marks)
        else:
            self._unsupported(kind, document, marks)

    def _supported(self, kind: str, document: Mapping[str, Any], marks: Marks) -> None:
        resource = _resource(kind, document)
        api_version = document.get("apiVersion")
        if not version_is_known(kind, api_version):
            hint = f"expected {expected_api_version(kind)}"
            said = f"apiVersion {api_version!r} has no {kind}" if api_version else "no apiVersion"
            self._say(marks, resource, Flaw(("apiVersion",), said, hint))
            return
        if kind == "MeshConfig":
            self._mesh_config(document, marks)
            return
        envelope = {"apiVersion", "kind", "metadata", "spec", "status"}
        for name in (str(key) for key in document if key not in envelope):
            hint = did_you_mean(name, ("apiVersion", "kind", "metadata", "spec"))
            flaw = Flaw((name,), f"unknown field {name!r}", hint, at_key=True)
            self._say(marks, resource, flaw)
        metadata, flaws = decode(document.get("metadata") or {}, Metadata, ("metadata",))
        if document.get("spec") is None:
            flaws.append(Flaw((), "spec is missing"))
            spec = None
        else:
            spec, spec_flaws = decode(document["spec"], SUPPORTED[kind][1], ("spec",))
            flaws += spec_flaws
        for flaw in flaws:
            self._say(marks, resource, flaw)
        if metadata is not None and spec is not None:
            self._add(kind, metadata, spec, marks)

    def _add(self, kind: str, metadata: Metadata, spec: Any, marks: Marks) -> None:
        made = Manifest(
            kind=kind,
            name=metadata.name,
            namespace=metadata.namespace,
            labels=metadata.labels,
            annotations=metadata.annotations,
            spec=spec,
            marks=marks,
        )
        self._manifests.append(made)

    def _mesh_config(self, document: Mapping[str, Any], marks: Marks) -> None:
        """Bare, as in Istio's own ``mesh`` text, or under ``spec`` as other kinds."""
        if "spec" in document:
            self._read_mesh_config(document["spec"], marks, ("spec",))
        else:
            envelope = {"apiVersion", "kind", "metadata"}
            fields = {key: value for key, value in document.items() if key not in envelope}
            self._read_mesh_config(fields, BareMarks(marks), ())

    def _config_map(self, document: Mapping[str, Any], marks: Marks) -> None:
        at = marks.place(("data", "mesh"))
        corner = marks.corner(("data", "mesh"))
        held = document.get("data")
        text = held.get("mesh") if isinstance(held, Mapping) else None
        if not isinstance(text, str):
            self._say(marks, "ConfigMap istio", Flaw(("data",), "data.mesh is missing"))
            return
        try:
            for node in read(text, at.file):
                inner: Marks = OpaqueMarks(at)
                if corner is not None:
                    inner = BareMarks(YamlMarks(at.file, node, corner))
                self._read_mesh_config(node.value, inner, ())
        except Unreadable as error:
            said = f"data.mesh, line {error.place.line}: {error.why}"
            self._findings.append(Finding(UNREADABLE, "error", at, "ConfigMap istio", said))

    def _operator(self, document: Mapping[str, Any], marks: Marks) -> None:
        """Of what ``istioctl install`` is told, the MeshConfig is for us."""
        spec = document.get("spec")
        spec = spec if isinstance(spec, Mapping) else {}
        for name in spec:
            if name != "meshConfig":
                flaw = Flaw(("spec", str(name)), "is not read: nothing is installed", at_key=True)
                self._say(marks, _resource("IstioOperator", document), flaw, "info")
        if spec.get("meshConfig") is not None:
            inner = BareMarks(EnclosedMarks(marks, ("spec", "meshConfig")))
            self._read_mesh_config(spec["meshConfig"], inner, ())

    def _read_mesh_config(self, fields: Any, marks: Marks, prefix: Path) -> None:
        spec, flaws = decode(fields, SUPPORTED["MeshConfig"][1], prefix, snake=True)
        for flaw in flaws:
            self._say(marks, "MeshConfig", flaw, flaw.severity)
        if spec is not None:
            self._add("MeshConfig", Metadata(name="istio", namespace="istio-system"), spec, marks)

    def _unsupported(self, kind: str, document: Mapping[str, Any], marks: Marks) -> None:
        resource = _resource(kind, document)
        group, _ = group_and_version(str(document.get("apiVersion") or ""))
        unsupported = Flaw(("kind",), f"{kind} is not supported yet", code=UNSUPPORTED)
        if kind in OTHER_ISTIO or group == "gateway.networking.k8s.io":
            self._say(marks, resource, replace(unsupported, hint="it has no effect"), "warning")
        elif kind in KUBERNETES_CORE or (group and not is_istio(group)):
            said = f"{kind} is not read; endpoints come from WorkloadEntry and ServiceEntry"
            self._say(marks, resource, Flaw(("kind",), said, code=UNSUPPORTED), "info")
        else:
            hint = did_you_mean(kind, SUPPORTED.keys() | OTHER_ISTIO)
            self._say(marks, resource, Flaw(("kind",), f"unknown kind {kind!r}", hint, SCHEMA))

    def _say(self, marks: Marks, resource: str, flaw: Flaw, severity: Severity = "error") -> None:
        self._findings.append(_finding(marks, resource, flaw, severity))


def _finding(marks: Marks, resource: str, flaw: Flaw, severity: Severity = "error") -> Finding:
    place = marks.place(flaw.path, key=flaw.at_key)
    return Finding(flaw.code, severity, place, resource, _said(flaw), flaw.hint)


def _said(flaw: Flaw) -> str:
    return f"{dotted(flaw.path)}: {flaw.message}" if flaw.path else flaw.message


def _name_of(document: Mapping[str, Any]) -> Any:
    metadata = document.get("metadata")
    return metadata.get("name") if isinstance(metadata, Mapping) else None


def _resource(kind: str, document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    name = metadata.get("name")
    return f"{kind} {metadata.get('namespace') or 'default'}/{name}" if name else kind
