"""The thread that looks after names and health lives and dies with its mesh, in every process."""

NAMED = """
[port] = [m["spec"]["ports"]["http"] for m in MANIFESTS
          if m["kind"] == "WorkloadEntry" and "http" in m["spec"]["ports"]]
MANIFESTS.append({
    "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
    "metadata": {"name": "named"},
    "spec": {
        "hosts": ["named.example"], "resolution": "DNS",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "endpoints": [{"address": "localhost", "ports": {"http": port}}],
    },
})


def threads():
    return sum(thread.name == "meshlib-upkeep" for thread in threading.enumerate())


def resolved(mesh):
    [cluster] = [c for name, c in mesh._engine.clusters.items() if "named.example" in name]
    return f"127.0.0.1:{port}" in cluster.balance.endpoints


async def call(mesh):
    mesh.start()
    async with mesh.aiohttp.session() as session:
        while not resolved(mesh):
            await asyncio.sleep(0.01)
        async with session.get("http://named.example/") as answer:
            assert await answer.text() == "ok"
"""


def test_a_program_ends_while_its_names_are_looked_after(run_program):
    run_program(
        NAMED
        + """
mesh = meshlib.Mesh(config=MANIFESTS)
asyncio.run(call(mesh))
assert threads() == 1
"""
    )


def test_a_closed_mesh_leaves_no_thread(run_program):
    run_program(
        NAMED
        + """
with meshlib.Mesh(config=MANIFESTS) as mesh:
    asyncio.run(call(mesh))
assert threads() == 0
"""
    )


def test_a_forked_child_looks_after_names_itself(run_program):
    run_program(
        NAMED
        + """
mesh = meshlib.Mesh(config=MANIFESTS)
asyncio.run(call(mesh))
pid = os.fork()
if not pid:
    signal.alarm(20)
    assert threads() == 0
    asyncio.run(call(mesh))
    assert threads() == 1
    mesh.close()
    assert threads() == 0
    os._exit(0)
_, status = os.waitpid(pid, 0)
assert status == 0, status
assert threads() == 1
mesh.close()
assert threads() == 0
"""
    )
