import hashlib
import json
import stat
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.identity.authority import Authority
from meshlib.identity.keys import load_key_file
from meshlib.identity.spiffe import SpiffeId
from meshlib.identity.store import FolderStore
from meshlib.identity.tokens import JoinTokens

REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"


@pytest.fixture
def made(tmp_path, monkeypatch, run):
    """A CA in the folder ``ca``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESHLIB_CA_DIR", raising=False)
    said = run("ca", "init")
    assert said.exit_code == 0
    return said


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


def test_a_ca_is_made_for_ones_own_eyes_and_says_what_next(made, run):
    assert "the CA of cluster.local is in ca" in made.output
    assert "Next: meshlib ca issue --ca ca" in made.output
    assert mode("ca") == 0o700
    assert {mode(path) for path in Path("ca").iterdir()} == {0o600}


def test_a_ca_is_not_overwritten(made, run):
    said = run("ca", "init")
    assert said.exit_code == 1
    assert "ca: there is a CA already; it is not overwritten" in said.stderr
    assert "Next: meshlib ca show --ca ca" in said.stderr


def test_an_empty_folder_is_no_ca_whatever_its_mode(tmp_path, run):
    said = run("ca", "show", "--ca", str(tmp_path))
    assert said.exit_code == 1
    assert f"{tmp_path}: there is no CA\nNext: meshlib ca init --ca {tmp_path}" in said.stderr


def test_a_signing_request_that_cannot_be_read_is_named(made, run):
    Path("csr.pem").write_text("junk")
    said = run("ca", "issue", "--id", REVIEWS, "--out", "certs", "--csr", "csr.pem")
    assert said.exit_code == 1
    assert "csr.pem: the signing request is refused: it cannot be read" in said.stderr


def test_a_certificate_is_written_with_its_key_and_bundle(made, run):
    said = run("ca", "issue", "--id", REVIEWS, "--out", "certs", "-o", "json")
    assert said.exit_code == 0
    told = json.loads(said.output)
    leaf = x509.load_pem_x509_certificate(Path("certs/svid.pem").read_bytes())
    assert told["spiffe_id"] == REVIEWS
    assert told["serial"] == f"{leaf.serial_number:x}"
    assert told["not_after"] == leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert told["files"] == ["certs/key.pem", "certs/bundle.pem", "certs/svid.pem"]
    assert mode("certs/key.pem") == 0o600
    assert mode("certs/svid.pem") == mode("certs/bundle.pem") == 0o644
    assert load_key_file(Path("certs/key.pem")).public_key() == leaf.public_key()
    verify = "openssl verify -x509_strict -CAfile certs/bundle.pem -untrusted certs/svid.pem"
    subprocess.run([*verify.split(), "certs/svid.pem"], check=True, capture_output=True)


def test_a_signing_request_is_answered_without_a_key(made, run):
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
    Path("csr.pem").write_bytes(request)
    said = run("ca", "issue", "--id", REVIEWS, "--out", "certs", "--csr", "csr.pem")
    assert said.exit_code == 0
    assert sorted(path.name for path in Path("certs").iterdir()) == ["bundle.pem", "svid.pem"]
    leaf = x509.load_pem_x509_certificate(Path("certs/svid.pem").read_bytes())
    assert leaf.public_key() == key.public_key()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--id", "spiffe://elsewhere/a"), "not in the trust domain"),
        (("--id", "reviews"), "does not begin with spiffe://"),
        (("--id", REVIEWS, "--ttl", "2d"), "a leaf lives up to 86400 s"),
    ],
)
def test_what_cannot_be_issued_is_told_and_not_written(made, run, more, why):
    said = run("ca", "issue", "--out", "certs", *more)
    assert said.exit_code == 1
    assert why in said.stderr
    assert not Path("certs").exists()


@pytest.mark.parametrize("text", ["1", "h", "1w", "-1h", "1.5h", "9999999999s"])
def test_a_time_without_sense_is_wrong_usage(made, run, text):
    said = run("ca", "issue", "--id", REVIEWS, "--out", "certs", "--ttl", text)
    assert said.exit_code == 2


def test_a_rotation_says_when_it_takes_effect(made, run):
    before = json.loads(run("ca", "show", "-o", "json").output)
    told = json.loads(run("ca", "rotate", "-o", "json").output)
    assert told["active_at"]
    assert [root["stage"] for root in told["roots"]] == ["active", "prepared"]
    assert told["roots"][0] == before["roots"][0]
    assert f"root {told['root']} becomes active at " in run("ca", "rotate").output
    said = run("ca", "rotate", "--emergency")
    assert said.output == f"root {told['root']} is active\n"
    after = json.loads(run("ca", "show", "-o", "json").output)
    assert [root["stage"] for root in after["roots"]] == ["active"]
    assert after["sequence"] > before["sequence"]


def test_what_is_revoked_is_shown_until_it_is_undone(made, run):
    assert run("ca", "revoke", REVIEWS).output == f"{REVIEWS} is revoked\n"
    run("ca", "revoke", "0A:BC")
    said = run("ca", "show")
    assert f"revoked  {REVIEWS}" in said.output
    assert "revoked  abc" in said.output
    assert "Trust domain cluster.local, 2 revoked." in said.output
    assert run("ca", "issue", "--id", REVIEWS, "--out", "certs").exit_code == 1
    assert run("ca", "revoke", REVIEWS, "--undo").output == f"{REVIEWS} is believed again\n"
    assert json.loads(run("ca", "show", "-o", "json").output)["revoked"] == ["abc"]
    assert run("ca", "revoke", "nobody").exit_code == 1


def test_who_revokes_a_serial_hears_whose_it_is(made, run):
    issued = json.loads(run("ca", "issue", "--id", REVIEWS, "--out", "c", "-o", "json").output)
    said = run("ca", "revoke", issued["serial"]).output
    assert said.startswith(f"{issued['serial']} is revoked; it is of {REVIEWS}\n")
    assert f"Next: meshlib ca revoke {REVIEWS}, if its other certificates" in said


def test_who_revokes_a_serial_that_nobody_knows_hears_what_that_does_not_stop(made, run):
    said = run("ca", "revoke", "abc").output
    assert said.startswith("abc is revoked; whose it is is not known here")
    assert "revoke the SPIFFE id" in said


def test_renewals_that_are_revoked_with_a_certificate_are_counted(made, run):
    authority, now = Authority(FolderStore("ca")), time.time()
    first = authority.issue(SpiffeId.parse(REVIEWS), now)
    authority.issue(SpiffeId.parse(REVIEWS), now, renewed=f"{first.serial:x}")
    said = run("ca", "revoke", f"{first.serial:x}").output
    assert "is revoked, and so are 1 of its renewals; it is of" in said


def test_renewals_that_are_believed_again_with_a_certificate_are_counted(made, run):
    authority, now = Authority(FolderStore("ca")), time.time()
    first = authority.issue(SpiffeId.parse(REVIEWS), now)
    second = authority.issue(SpiffeId.parse(REVIEWS), now, renewed=f"{first.serial:x}")
    run("ca", "revoke", f"{second.serial:x}")
    said = run("ca", "revoke", "--undo", f"{second.serial:x}").output
    assert said == f"{second.serial:x} is believed again, and so are 1 of its renewals\n"
    assert json.loads(run("ca", "show", "-o", "json").output)["revoked"] == []
    run("ca", "revoke", f"{first.serial:x}")
    told = json.loads(run("ca", "revoke", "--undo", f"{first.serial:x}", "-o", "json").output)
    assert told["more"] == [f"{second.serial:x}"]


def test_the_roots_are_shown_with_what_is_to_become_of_them(made, run):
    run("ca", "rotate")
    said = run("ca", "show")
    assert said.exit_code == 0
    first, second = [line.split() for line in said.output.splitlines()[1:3]]
    assert (first[1], second[1]) == ("active", "prepared")
    assert (first[3], second[3]) == ("-", "-")


def test_a_ca_that_cannot_sign_now_is_a_finding(tmp_path, monkeypatch, run):
    from meshlib.identity.authority import Authority
    from meshlib.identity.spiffe import TrustDomain

    monkeypatch.chdir(tmp_path)
    store = FolderStore("ca")
    store.create()
    Authority.create(store, TrustDomain("cluster.local"), 1_000_000_000.0)
    assert run("ca", "show").exit_code == 1
    assert run("ca", "issue", "--id", REVIEWS, "--out", "certs").exit_code == 0  # it follows up
    assert run("ca", "show").exit_code == 0


def test_a_token_is_worth_its_id(made, run):
    from time import time

    said = run("ca", "token", "--id", REVIEWS, "--life", "5m", "-o", "json")
    told = json.loads(said.output)
    assert told["spiffe_id"] == REVIEWS
    assert told["expires"].endswith("Z")
    assert str(JoinTokens(FolderStore("ca")).redeem(told["token"], time())) == REVIEWS
    assert len(run("ca", "token", "--id", REVIEWS).output.strip()) == 43
    assert run("ca", "token", "--id", "spiffe://elsewhere/a").exit_code == 1


def test_without_a_ca_it_says_how_to_make_one(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    said = run("ca", "show", "--ca", "none")
    assert said.exit_code == 1
    assert "Next: meshlib ca init --ca none" in said.stderr


def test_a_folder_that_others_may_read_is_refused(made, run):
    Path("ca").chmod(0o755)
    said = run("ca", "show")
    assert said.exit_code == 1
    assert "chmod 700 ca" in said.stderr


def test_the_folder_may_be_named_by_the_environment(made, run, monkeypatch):
    Path("ca").rename("elsewhere")
    monkeypatch.setenv("MESHLIB_CA_DIR", "elsewhere")
    assert run("ca", "show").exit_code == 0


def test_other_lives_and_trust_domains_may_be_chosen(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    arguments = ["--trust-domain", "mesh.example", "--root-life", "10d", "--propagation", "1h"]
    told = json.loads(run("ca", "init", *arguments, "-o", "json").output)
    assert told["trust_domain"] == "mesh.example"
    refused = run("ca", "init", "--ca", "b", "--root-life", "1d")
    assert refused.exit_code == 1
    assert "followed too fast" in refused.stderr
    assert not Path("b").exists()


@pytest.mark.parametrize("command", ["init", "issue", "rotate", "revoke", "show", "token"])
def test_every_command_of_it_shows_an_example(run, command):
    said = run("ca", command, "--help")
    assert said.exit_code == 0
    assert f"Example:\n    meshlib ca {command}" in said.output


def test_the_root_is_printed_as_members_need_it(made, run):
    pem = run("ca", "root").output
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    assert run("ca", "root", "--hash").output == f"sha256:{hashlib.sha256(der).hexdigest()}\n"


def test_another_trust_domain_is_believed_by_its_roots_until_the_bundle_is_empty(made, run):
    assert run("ca", "init", "--ca", "other", "--trust-domain", "other.example").exit_code == 0
    Path("bundle.pem").write_text(run("ca", "root", "--ca", "other").output)
    said = run("ca", "federate", "other.example", "bundle.pem", "-o", "json")
    assert json.loads(said.output) == {"trust_domain": "other.example", "roots": 1, "sequence": 1}
    assert "federated  other.example, 1 roots" in run("ca", "show").output
    assert json.loads(run("ca", "show", "-o", "json").output)["federated"] == {"other.example": 1}
    Path("bundle.pem").write_text("")
    said = run("ca", "federate", "other.example", "bundle.pem")
    assert "members of other.example are believed no more" in said.output


def test_what_is_no_bundle_is_refused_by_its_file(made, run):
    Path("bundle.pem").write_text("junk")
    said = run("ca", "federate", "other.example", "bundle.pem")
    assert said.exit_code == 1
    assert "bundle.pem: not a bundle of certificates" in said.stderr
