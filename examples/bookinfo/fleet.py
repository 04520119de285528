"""The processes of the demo: one control plane and the services, on free loopback ports."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE = 20.0
WORKLOADS = (
    ("details", "v1"),
    ("ratings", "v1"),
    ("reviews", "v1"),
    ("reviews", "v2"),
    ("reviews", "v3"),
    ("reviews", "v3"),
    ("productpage", "v1"),
)


class DemoError(Exception):
    """Something of the demo did not come up; says which and what it wrote last."""


@dataclass
class Workload:
    app: str
    version: str
    port: int
    admin: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """As dashboards have it: replicas of one version are one workload."""
        return f"{self.app}-{self.version}"

    def manifest(self, index: int) -> str:
        # Every service calls its port 9080; where it really listens is the workload's affair.
        name = "http" if self.app in ("productpage", "details") else "grpc"
        return (
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
            f"metadata: {{name: {self.app}-{self.version}-{index}}}\n"
            "spec:\n  address: 127.0.0.1\n"
            f"  ports: {{{name}: {self.port}}}\n"
            f"  labels: {{app: {self.app}, version: {self.version},"
            f" service.istio.io/workload-name: {self.name}}}\n"
            f"  serviceAccount: {self.app}\n"
        )


@dataclass
class Fleet:
    folder: Path
    logs: Path
    ads_port: int = 0
    admin_port: int = 0
    workloads: list[Workload] = field(default_factory=list)
    control_plane: subprocess.Popen[bytes] | None = None
    ca: Path | None = None
    root: bytes = b""

    def prepare(self) -> None:
        """Choose ports and write the mesh's folder."""
        self.folder.mkdir()
        self.logs.mkdir()
        shutil.copy(HERE / "mesh" / "services.yaml", self.folder)
        ports = free_ports(2 * len(WORKLOADS) + 2)
        self.ads_port, self.admin_port = ports[:2]
        chosen = zip(WORKLOADS, ports[2::2], ports[3::2], strict=True)
        self.workloads = [Workload(*what, port, admin) for what, port, admin in chosen]
        documents = [workload.manifest(i) for i, workload in enumerate(self.workloads)]
        (self.folder / "workloads.yaml").write_text("---\n".join(documents))

    def scene(self, name: str) -> None:
        """Put a scene's rules in force, as an editor would: by a rename."""
        staged = self.folder / ".reviews.yaml.new"
        shutil.copy(HERE / "scenes" / f"{name}.yaml", staged)
        os.replace(staged, self.folder / "reviews.yaml")  # noqa: PTH105 - says what it is

    def start_control_plane(self) -> None:
        arguments = ["-m", "meshlib", "serve", str(self.folder)]
        arguments += ["--listen", f"127.0.0.1:{self.ads_port}"]
        arguments += ["--admin", f"127.0.0.1:{self.admin_port}"]
        arguments += ["--ca", str(self.ca)] if self.ca is not None else []
        self.control_plane = self._spawn("control-plane", arguments, {})
        self._until_open("control plane", self.ads_port, self.control_plane)

    def start_workloads(self) -> None:
        for index, workload in enumerate(self.workloads):
            arguments = [str(HERE / f"{workload.app}.py"), str(workload.port)]
            extra = {"MESHLIB_VERSION": workload.version, "MESHLIB_WORKLOAD": workload.name}
            extra |= {"MESHLIB_ADMIN": f"127.0.0.1:{workload.admin}"}
            extra |= self.membership(workload.app)
            workload.process = self._spawn(f"{workload.name}-{index}", arguments, extra)
        for workload in self.workloads:
            assert workload.process is not None
            self._until_open(workload.app, workload.port, workload.process)

    def secure(self, policies: Path) -> None:
        """Make a CA, and have everybody go by its certificates."""
        from meshlib.identity.authority import Authority
        from meshlib.identity.spiffe import TrustDomain
        from meshlib.identity.store import FolderStore

        self.ca = self.logs.parent / "ca"
        store = FolderStore(self.ca)
        store.create()
        self.root = Authority.create(store, TrustDomain("cluster.local"), time.time()).bundle().pem
        (self.logs.parent / "root.pem").write_bytes(self.root)
        shutil.copy(policies, self.folder)

    def membership(self, account: str) -> dict[str, str]:
        """What a process needs to become a member: a token that is worth one certificate."""
        plane = {"MESHLIB_CONTROL_PLANE": f"127.0.0.1:{self.ads_port}"}
        if self.ca is None:
            return plane
        from meshlib.identity.spiffe import SpiffeId
        from meshlib.identity.store import FolderStore
        from meshlib.identity.tokens import JoinTokens

        wanted = SpiffeId.parse(f"spiffe://cluster.local/ns/default/sa/{account}")
        token = JoinTokens(FolderStore(self.ca)).create(wanted, time.time())
        root = str(self.logs.parent / "root.pem")
        return {**plane, "MESHLIB_CA_ROOT": root, "MESHLIB_CA_TOKEN": token}

    def _spawn(
        self, name: str, arguments: list[str], extra: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **extra, "PYTHONUNBUFFERED": "1"}
        with (self.logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments], env=environment, stdout=log, stderr=log
            )

    def _until_open(self, name: str, port: int, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise DemoError(f"{name} ended with {process.returncode}\n{self.last_words()}")
            with socket.socket() as probe:
                probe.settimeout(0.2)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        raise DemoError(f"{name} does not listen on port {port}\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of every log that has one."""
        texts = {log.name: log.read_text(errors="replace")[-800:] for log in self.logs.iterdir()}
        return "\n".join(f"--- {name}\n{text}" for name, text in texts.items() if text)

    def port(self, app: str) -> int:
        return next(workload.port for workload in self.workloads if workload.app == app)

    def replicas(self, app: str, version: str) -> list[Workload]:
        return [w for w in self.workloads if (w.app, w.version) == (app, version)]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.replicas('productpage', 'v1')[0].port}{path}"

    def stop(self) -> None:
        """End every process that is still there, politely first."""
        processes = [w.process for w in self.workloads] + [self.control_plane]
        alive = [p for p in processes if p is not None and p.poll() is None]
        for process in alive:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        for process in alive:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
