import subprocess
import threading

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshlib.identity.authority import Authority, Revoked
from meshlib.identity.credentials import IdentityError, UntrustedError
from meshlib.identity.journal import NAME, REMEMBERED, Journal
from meshlib.identity.keys import load_key, private_pem
from meshlib.identity.leaf import LeafChecker
from meshlib.identity.names import derived_name
from meshlib.identity.slots import DAY, HOUR, Schedule, Stage
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import FolderStore, MemoryStore

DOMAIN = TrustDomain("cluster.local")


def leaf_of(svid):
    return x509.load_pem_x509_certificate(svid.certificate_chain)


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def test_a_leaf_says_one_id_its_derived_name_and_no_more(authority, reviews, now):
    leaf = leaf_of(authority.issue(reviews, now))
    sans = extension(leaf, x509.SubjectAlternativeName)
    assert sans.critical
    assert [name.value for name in sans.value] == [str(reviews), derived_name(reviews)]
    assert not leaf.subject.rdns
    usage = extension(leaf, x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    constraints = extension(leaf, x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert set(extension(leaf, x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }


def test_a_leaf_lives_an_hour_and_began_a_minute_ago(authority, reviews, now):
    svid = authority.issue(reviews, now)
    assert (svid.not_before, svid.not_after) == (now - 60, now + HOUR)
    leaf = leaf_of(svid)
    assert leaf.not_valid_after_utc.timestamp() == svid.not_after
    assert leaf.serial_number == svid.serial
    assert load_key(svid.private_key).public_key() == leaf.public_key()


def test_serial_numbers_cannot_be_guessed(authority, reviews, now):
    serials = {authority.issue(reviews, now).serial for _ in range(50)}
    assert len(serials) == 50
    assert all(serial.bit_length() > 64 for serial in serials)


@pytest.mark.parametrize("ttl", [0, -1, DAY + 1, float("inf"), float("nan")])
def test_a_leaf_lives_a_day_at_most(authority, reviews, now, ttl):
    authority.issue(reviews, now, DAY)
    with pytest.raises(IdentityError, match="a leaf lives up to"):
        authority.issue(reviews, now, ttl)


def test_a_leaf_never_outlives_what_signed_it(reviews, now):
    schedule = Schedule(root_life=600, intermediate_life=100, propagation=10)
    authority = Authority.create(MemoryStore(), DOMAIN, now, schedule)
    svid = authority.issue(reviews, now + 40, HOUR)
    assert svid.not_after == now + 100
    with pytest.raises(IdentityError, match="is the clock right"):
        authority.issue(reviews, now + 100)
    with pytest.raises(IdentityError, match="is the clock right"):
        authority.issue(reviews, now - 61)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("spiffe://elsewhere/ns/a/sa/b", "not in the trust domain"),
        ("spiffe://cluster.local", "nobody in it"),
    ],
)
def test_no_leaf_is_made_for_what_is_no_member(authority, now, text, why):
    with pytest.raises(IdentityError, match=why):
        authority.issue(SpiffeId.parse(text), now)


def test_the_name_that_stands_for_an_id_cannot_be_chosen(authority, reviews, now):
    with pytest.raises(IdentityError, match="nobody's to choose"):
        authority.issue(reviews, now, hosts=("localhost", derived_name("spiffe://a/b")))


def test_openssl_believes_the_chain_under_its_strictest_rules(
    authority, reviews, now, tmp_path, program
):
    openssl = program("openssl")
    svid = authority.issue(reviews, now)
    (tmp_path / "chain.pem").write_bytes(svid.certificate_chain)
    (tmp_path / "root.pem").write_bytes(authority.bundle().pem)

    def verify(*more):
        command = [openssl, "verify", "-x509_strict", "-attime", str(int(now)), *more]
        command += ["-CAfile", "root.pem", "-untrusted", "chain.pem", "chain.pem"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    for purpose in ("sslclient", "sslserver"):
        said = verify("-purpose", purpose, "-verify_hostname", derived_name(reviews))
        assert said.returncode == 0, said.stderr
    assert verify("-verify_hostname", "reviews").returncode != 0
    stranger = Authority.create(MemoryStore(), DOMAIN, now)
    (tmp_path / "root.pem").write_bytes(stranger.bundle().pem)
    assert verify().returncode != 0


def test_the_cas_own_certificates_name_the_trust_domain_and_cannot_be_a_member(
    authority, reviews, now
):
    chain = authority.issue(reviews, now).certificate_chain
    _, intermediate = x509.load_pem_x509_certificates(chain)
    root = x509.load_pem_x509_certificate(authority.bundle().pem)
    for one, length in ((root, 1), (intermediate, 0)):
        (uri,) = extension(one, x509.SubjectAlternativeName).value
        assert uri.value == "spiffe://cluster.local"
        assert extension(one, x509.BasicConstraints).value == x509.BasicConstraints(True, length)
        assert extension(one, x509.KeyUsage).value.key_cert_sign
        assert not extension(one, x509.KeyUsage).value.digital_signature
        pem = one.public_bytes(Encoding.PEM)
        with pytest.raises(UntrustedError):
            LeafChecker().check(pem, authority.credentials(), now)


def test_a_ca_comes_back_as_it_was(folder, reviews, now):
    first = Authority.create(folder, DOMAIN, now)
    first.revoke("ab:cd", now)
    again = Authority(FolderStore(folder.folder))
    assert (again.slots, again.bundle(), again.revoked) == (
        first.slots,
        first.bundle(),
        frozenset({"abcd"}),
    )
    svid = again.issue(reviews, now)
    assert LeafChecker().check(svid.certificate_chain, first.credentials(), now)


def test_a_restart_does_not_rotate_again(folder, now):
    Authority.create(folder, DOMAIN, now)
    later = now + 340 * DAY
    first = Authority(folder)
    assert first.advance(later)
    slots = first.slots
    assert len(slots) == 2
    again = Authority(FolderStore(folder.folder))
    assert not again.advance(later + 1)
    assert again.slots == slots


def test_a_second_ca_does_not_overwrite_the_first(folder, now):
    Authority.create(folder, DOMAIN, now)
    with pytest.raises(IdentityError, match="not overwritten"):
        Authority.create(folder, DOMAIN, now)


def test_where_there_is_no_ca_it_says_how_to_make_one(folder):
    with pytest.raises(IdentityError, match="meshlib ca init"):
        Authority(folder)


def test_the_schedule_is_followed_with_real_keys(reviews, now):
    schedule = Schedule(root_life=6000, intermediate_life=6000, propagation=100, prune_after=50)
    authority = Authority.create(MemoryStore(), DOMAIN, now, schedule)
    checker, held, moment = LeafChecker(), [], now
    roots = set()
    while moment < now + 20_000:
        before = authority.bundle()
        authority.advance(moment)
        bundle = authority.bundle()
        assert (bundle.sequence > before.sequence) == (bundle.roots != before.roots)
        roots.update(bundle.roots)
        held = [svid for svid in held if svid.not_after > moment]
        held.append(authority.issue(reviews, moment, 900))
        for svid in held:
            assert checker.check(svid.certificate_chain, authority.credentials(), moment)
        moment += 300
    assert len(roots) >= 4
    assert len(authority.bundle().roots) <= 3


def test_the_intermediate_is_renewed_at_half_of_its_life_under_the_same_root(folder, reviews, now):
    authority = Authority.create(folder, DOMAIN, now)
    bystander = Authority(FolderStore(folder.folder))
    first = authority.issue(reviews, now)
    assert authority.next_moment() == now + 15 * DAY
    assert not authority.advance(now + 15 * DAY)  # the bundle is the same
    second = authority.issue(reviews, now + 15 * DAY)
    issuers = [
        x509.load_pem_x509_certificates(svid.certificate_chain)[1] for svid in (first, second)
    ]
    assert issuers[0] != issuers[1]
    assert issuers[0].public_key() != issuers[1].public_key()
    bystander.refresh()
    other = bystander.issue(reviews, now + 15 * DAY)
    assert x509.load_pem_x509_certificates(other.certificate_chain)[1] == issuers[1]
    credentials = authority.credentials()
    assert LeafChecker().check(second.certificate_chain, credentials, now + 15 * DAY)


def test_a_forced_rotation_prepares_now_and_signs_when_all_have_heard(authority, reviews, now):
    old = authority.bundle().roots
    slot = authority.rotate(now)
    assert slot.stage is Stage.PREPARED
    assert authority.bundle().roots[:1] == old
    assert len(authority.bundle().roots) == 2
    assert authority.rotate(now).name == slot.name  # twice is once
    assert authority.next_moment() == now + DAY
    assert authority.advance(now + DAY)
    assert authority.slots[1].stage is Stage.ACTIVE
    assert authority.advance(now + 2 * DAY)
    assert [one.name for one in authority.slots] == [slot.name]


def test_an_emergency_ends_the_belief_in_all_older_roots_at_once(authority, reviews, now):
    svid = authority.issue(reviews, now)
    authority.rotate(now)
    slot = authority.rotate(now, emergency=True)
    assert slot.stage is Stage.ACTIVE
    assert len(authority.bundle().roots) == 1
    with pytest.raises(UntrustedError, match="no root of its trust domain"):
        LeafChecker().check(svid.certificate_chain, authority.credentials(), now)
    fresh = authority.issue(reviews, now)
    assert LeafChecker().check(fresh.certificate_chain, authority.credentials(), now)


def test_an_old_root_keeps_no_key(folder, now):
    authority = Authority.create(folder, DOMAIN, now)
    old = authority.slots[0].name
    authority.rotate(now)
    authority.advance(now + DAY)
    files = {path.name: path.read_text() for path in folder.folder.iterdir()}
    assert f"issuer-{old}.pem" not in files
    assert "PRIVATE" not in files[f"root-{old}.pem"]
    assert Authority(FolderStore(folder.folder)).bundle() == authority.bundle()
    authority.advance(now + 3 * DAY)
    assert not [path for path in folder.folder.iterdir() if old in path.name]


def test_a_revoked_id_gets_no_new_leaf_until_it_is_readmitted(authority, reviews, now):
    svid = authority.issue(reviews, now)
    assert authority.revoke(str(reviews), now) == Revoked(str(reviews))
    with pytest.raises(IdentityError, match="is revoked"):
        authority.issue(reviews, now)
    with pytest.raises(UntrustedError, match="is revoked"):
        LeafChecker().check(svid.certificate_chain, authority.credentials(), now)
    authority.readmit(str(reviews))
    assert LeafChecker().check(svid.certificate_chain, authority.credentials(), now)
    authority.issue(reviews, now)
    with pytest.raises(IdentityError, match="is not revoked"):
        authority.readmit(str(reviews))


def test_a_revoked_serial_is_denied_in_any_spelling_and_forgotten_when_it_is_dead(
    authority, reviews, now
):
    svid = authority.issue(reviews, now)
    digits = f"{svid.serial:040X}"
    authority.revoke(":".join(digits[at : at + 2] for at in range(0, 40, 2)), now)
    with pytest.raises(UntrustedError, match="is revoked"):
        LeafChecker().check(svid.certificate_chain, authority.credentials(), now)
    authority.revoke(str(reviews), now)
    authority.revoke("1", now + REMEMBERED)
    assert authority.revoked == {str(reviews), "1"}


def test_a_serial_is_revoked_with_all_that_it_was_renewed_by(authority, reviews, now):
    """Else whoever stole a key renews in time, and is believed for ever."""
    first = authority.issue(reviews, now)
    second = authority.issue(reviews, now + 10, renewed=f"{first.serial:x}")
    third = authority.issue(reviews, now + 20, renewed=f"{second.serial:x}")
    other = authority.issue(reviews, now)
    done = authority.revoke(f"{first.serial:x}", now + 30)
    more = tuple(sorted(f"{one.serial:x}" for one in (second, third)))
    assert done == Revoked(f"{first.serial:x}", str(reviews), more)
    assert authority.revoked == {f"{one.serial:x}" for one in (first, second, third)}
    assert f"{other.serial:x}" not in authority.revoked


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_serial_is_believed_again_with_all_that_was_revoked_with_it(
    authority, reviews, now, which
):
    """Else its renewals, which its owner has by now, would be refused as before."""
    first = authority.issue(reviews, now)
    second = authority.issue(reviews, now + 10, renewed=f"{first.serial:x}")
    third = authority.issue(reviews, now + 20, renewed=f"{second.serial:x}")
    other = authority.issue(reviews, now)
    authority.revoke(f"{other.serial:x}", now)
    authority.revoke(f"{second.serial:x}", now + 30)
    serials = [f"{one.serial:x}" for one in (first, second, third)]
    known = serials.pop(which)
    assert authority.readmit(known) == Revoked(known, str(reviews), tuple(sorted(serials)))
    assert authority.revoked == {f"{other.serial:x}"}
    with pytest.raises(IdentityError, match="is not revoked"):
        authority.readmit(known)


def test_an_id_is_believed_again_without_its_certificates(authority, reviews, now):
    """They were revoked for reasons of their own."""
    svid = authority.issue(reviews, now)
    authority.revoke(f"{svid.serial:x}", now)
    authority.revoke(str(reviews), now)
    assert authority.readmit(str(reviews)) == Revoked(str(reviews))
    assert authority.revoked == {f"{svid.serial:x}"}


def test_who_was_revoked_a_moment_ago_renews_nothing(folder, reviews, now):
    serving = Authority.create(folder, DOMAIN, now)
    svid = serving.issue(reviews, now)
    Authority(FolderStore(folder.folder)).revoke(f"{svid.serial:x}", now)
    with pytest.raises(IdentityError, match="is revoked"):
        serving.issue(reviews, now, renewed=f"{svid.serial:x}")
    Authority(FolderStore(folder.folder)).revoke(str(reviews), now)
    with pytest.raises(IdentityError, match="is revoked"):
        serving.issue(reviews, now)


@pytest.mark.parametrize("name", ["", "0", "xyz", "spiffe://A/b", "http://a/b"])
def test_what_is_neither_id_nor_serial_cannot_be_revoked(authority, now, name):
    with pytest.raises(IdentityError):
        authority.revoke(name, now)


def test_what_another_program_did_is_heard_of(folder, reviews, now):
    serving = Authority.create(folder, DOMAIN, now)
    typed = Authority(FolderStore(folder.folder))
    assert not serving.refresh()
    typed.revoke("abcd", now)
    serving.revoke("1234", now)  # nobody's change is lost
    assert serving.revoked == {"abcd", "1234"}
    assert typed.advance(now)
    assert typed.revoked == serving.revoked
    typed.rotate(now)
    assert serving.advance(now)
    assert serving.bundle() == typed.bundle()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda text: b"{", "journal.json: "),
        (lambda text: text.replace(b'"version": 1', b'"version": 2'), "version 2 is not known"),
        (lambda text: text.replace(b'"sequence"', b'"sequenze"'), "sequenze"),
        (lambda text: text.replace(b"cluster.local", b"Cluster"), "trust domain"),
    ],
)
def test_a_journal_that_is_not_understood_is_refused(folder, now, spoil, why):
    Authority.create(folder, DOMAIN, now)
    folder.write(NAME, spoil(folder.read(NAME)))
    with pytest.raises(IdentityError, match=why):
        Authority(folder)


def test_keys_that_are_gone_or_not_of_their_certificate_are_told(folder, now):
    authority = Authority.create(folder, DOMAIN, now)
    name = authority.slots[0].name
    issuer, root = f"issuer-{name}.pem", f"root-{name}.pem"
    kept = {one: folder.read(one) for one in (issuer, root)}
    rsa_key = rsa.generate_private_key(65537, 2048)
    certificate = kept[issuer][kept[issuer].index(b"-----BEGIN CERT") :]
    for broken, why in [
        (private_pem(load_key(kept[root])) + certificate, "not that of its certificate"),
        (private_pem(rsa_key) + certificate, "not an EC key"),
        (certificate, "not an unencrypted private key"),
        (b"", "no certificate"),
    ]:
        folder.write(issuer, broken)
        with pytest.raises(IdentityError, match=why):
            Authority(folder)
    folder.write(issuer, kept[issuer])
    folder.remove(root)
    with pytest.raises(IdentityError, match="is missing"):
        Authority(folder)


def test_keys_that_others_may_read_stop_the_ca(folder, now):
    authority = Authority.create(folder, DOMAIN, now)
    (folder.folder / f"root-{authority.slots[0].name}.pem").chmod(0o640)
    with pytest.raises(IdentityError, match="lets others at it"):
        Authority(folder)


def test_no_key_is_ever_shown(authority, reviews, now):
    svid = authority.issue(reviews, now)
    for shown in (repr(svid), repr(authority.credentials(svid)), repr(authority.slots)):
        assert "PRIVATE" not in shown


def test_leaves_are_signed_while_roots_change(authority, reviews, now):
    stop, made, wrong = threading.Event(), [], []

    def sign():
        while not stop.is_set():
            try:
                made.append(authority.issue(reviews, now).certificate_chain)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=sign) for _ in range(3)]
    for one in threads:
        one.start()
    bundles = [authority.credentials()]
    for _ in range(10):
        authority.rotate(now)
        authority.rotate(now, emergency=True)
        bundles.append(authority.credentials())
    stop.set()
    for one in threads:
        one.join()
    assert not wrong
    assert made

    def believed(chain, credentials):
        try:
            return bool(LeafChecker().check(chain, credentials, now))
        except UntrustedError:
            return False

    assert all(any(believed(chain, one) for one in bundles) for chain in made[::20])


def test_a_journal_survives_the_store(now):
    store = MemoryStore()
    authority = Authority.create(store, DOMAIN, now)
    journal = Journal.read(store)
    assert journal == msgspec.json.decode(msgspec.json.encode(journal), type=Journal)
    assert journal.slots == authority.slots
