"""Whom a member believes. What is spoiled here has been accepted by somebody, somewhere."""

import subprocess
import warnings
from statistics import median
from time import perf_counter

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshlib.identity.credentials import Bundle, Credentials, UntrustedError
from meshlib.identity.keys import private_pem
from meshlib.identity.leaf import (
    LONGEST_CHAIN,
    LeafChecker,
    Purpose,
    check_leaf,
    pem_chain,
)
from meshlib.identity.names import derived_name

REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"
OTHER = "spiffe://cluster.local/ns/default/sa/ratings"
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
URI, DNS = x509.UniformResourceIdentifier, x509.DNSName


@pytest.fixture
def check(root, believing, now):
    """``check(chain)``: what a member says that believes the one root."""

    def of(chain, purpose=None, credentials=None):
        return LeafChecker().check(chain, credentials or believing(root), now, purpose)

    return of


@pytest.fixture
def refused(check):
    def of(made, why, **more):
        with pytest.raises(UntrustedError, match=why):
            check(made if isinstance(made, bytes) else made.pem, **more)

    return of


def unsafe(kind, value):
    """A name that the library would not make by itself."""
    return kind._init_without_validation(value)


def test_what_a_believed_leaf_says(make_leaf, check, now):
    made = make_leaf(subject=("reviews",), serial=0xABC, others=(DNS("reviews.default"),))
    leaf = check(made.pem)
    assert leaf.spiffe_id == REVIEWS
    assert leaf.uri_sans == (REVIEWS,)
    assert leaf.dns_sans == ("reviews.default",)
    assert leaf.subject == "CN=reviews"
    assert leaf.serial == "abc"
    assert (leaf.not_before, leaf.not_after) == (now - 60, now + 3600)
    assert check(made.der) == leaf


def test_two_uri_sans_are_refused_in_either_order(make_leaf, refused):
    for uris in ((REVIEWS, OTHER), (OTHER, REVIEWS), (REVIEWS, "https://example.com/")):
        refused(make_leaf(uris=uris, others=()), "has 2 URI SANs")


def test_no_san_at_all_is_refused(make_leaf, refused):
    refused(make_leaf(uris=(), others=(), subject=("a",)), "no subject alternative name")


@pytest.mark.parametrize(
    "uri",
    [
        "https://cluster.local/ns/default/sa/reviews",
        "spiffe://CLUSTER.LOCAL/ns/default/sa/reviews",
        "spiffe://cluster.local:80/a",
        "spiffe://cluster.local/a/../b",
        "spiffe://cluster.local/a%2fb",
        "spiffe://cluster.local/a?b",
        "spiffe://cluster.local/a/",
    ],
)
def test_a_uri_that_is_no_spiffe_id_is_refused(make_leaf, refused, uri):
    refused(make_leaf(uris=(uri,), others=()), "no SPIFFE id")


def test_an_id_in_another_spelling_is_refused(make_leaf, refused):
    refused(make_leaf(uris=("SPIFFE://cluster.local/a",), others=()), "is not written as")


def test_an_id_without_a_path_is_refused(make_leaf, refused):
    refused(make_leaf(uris=("spiffe://cluster.local",), others=()), "nobody in it")


def test_a_san_that_may_be_overlooked_is_refused_where_there_is_no_subject(
    make_leaf, refused, check
):
    refused(make_leaf(san_critical=False), "neither a subject nor a critical SAN")
    assert check(make_leaf(san_critical=False, subject=("a",)).pem)


def test_cve_2022_21656_a_dns_san_that_holds_a_spiffe_id_is_no_id(make_leaf, refused):
    refused(make_leaf(uris=(), others=(unsafe(DNS, REVIEWS),)), "has 0 URI SANs")
    refused(make_leaf(uris=(), others=(x509.RFC822Name("a@b.c"),)), "has 0 URI SANs")
    refused(make_leaf(uris=(), others=(), subject=(REVIEWS,)), "no subject alternative name")


def test_cve_2022_21656_a_dns_san_beside_the_id_does_not_become_one(make_leaf, check):
    leaf = check(make_leaf(others=(unsafe(DNS, OTHER),)).pem)
    assert leaf.uri_sans == (REVIEWS,)
    assert leaf.dns_sans == (OTHER,)


def test_cve_2022_21657_a_certificate_is_good_for_what_it_is_meant_for(make_leaf, check, refused):
    client, server = make_leaf(purposes=(CLIENT,)), make_leaf(purposes=(SERVER,))
    assert check(client.pem, Purpose.CLIENT)
    assert check(server.pem, Purpose.SERVER)
    refused(client, "not meant for a server", purpose=Purpose.SERVER)
    refused(server, "not meant for a client", purpose=Purpose.CLIENT)
    refused(client, "not meant for a server")
    mail = make_leaf(purposes=(ExtendedKeyUsageOID.EMAIL_PROTECTION,))
    refused(mail, "not meant for a client", purpose=Purpose.CLIENT)
    anything = make_leaf(purposes=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,))
    refused(anything, "not meant for a client", purpose=Purpose.CLIENT)
    assert check(make_leaf(purposes=None).pem)


def test_cve_2022_21657_a_ca_is_nobody_to_talk_to(make_leaf, make_ca, refused, root, key_usage):
    ca = x509.BasicConstraints(ca=True, path_length=None)
    refused(make_leaf(constraints=ca), "that of a CA")
    signing = key_usage(digital_signature=True, key_cert_sign=True)
    refused(make_leaf(usage=signing), "key usage is that of a CA")
    listing = key_usage(digital_signature=True, crl_sign=True)
    refused(make_leaf(usage=listing), "key usage is that of a CA")
    refused(make_ca("b", root, uris=(REVIEWS,)), "that of a CA")


def test_a_key_usage_that_does_not_sign_or_may_be_overlooked_is_refused(
    make_leaf, refused, key_usage
):
    refused(make_leaf(usage=None), "key usage is not critical, or does not sign")
    refused(make_leaf(usage_critical=False), "key usage is not critical, or does not sign")
    refused(make_leaf(usage=key_usage(key_encipherment=True)), "does not sign")


def test_a_leaf_that_says_nothing_of_being_a_ca_is_none(make_leaf, check):
    assert check(make_leaf(constraints=None).pem)


@pytest.mark.parametrize("kind", [DNS, URI, x509.RFC822Name])
def test_cve_2025_66220_a_nul_in_a_name_hides_nothing(make_leaf, refused, kind):
    hidden = unsafe(kind, f"{REVIEWS}\0.evil.example")
    refused(make_leaf(uris=(), others=(hidden,)), "URI SANs|no SPIFFE id|DNS SAN")


def test_cve_2025_66220_a_nul_in_a_dns_san_beside_the_id_is_refused(make_leaf, refused):
    name = unsafe(DNS, "reviews\0.evil.example")
    refused(make_leaf(others=(name,)), r"DNS SAN 'reviews\\x00\.evil")


def test_cve_2026_47778_names_of_other_kinds_are_neither_ids_nor_a_crash(make_leaf, check):
    upn = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x07a\0b@c.d")
    oid = x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))
    leaf = check(make_leaf(others=(upn, oid, x509.RFC822Name("a@b.c"))).pem)
    assert (leaf.uri_sans, leaf.dns_sans) == ((REVIEWS,), ())


@pytest.mark.parametrize(
    "name",
    [
        "*.sid.meshlib.invalid",
        "*.SID.meshlib.invalid.",
        derived_name(OTHER),
        derived_name(REVIEWS).upper(),
        f"a.{derived_name(REVIEWS)}",
    ],
)
def test_cve_2020_15104_no_wildcard_and_no_other_derived_name_is_believed(make_leaf, refused, name):
    refused(make_leaf(others=(DNS(derived_name(REVIEWS)), DNS(name))), "has the DNS SAN")


def test_a_derived_name_in_the_subject_is_refused(make_leaf, refused):
    with warnings.catch_warnings(action="ignore"):  # it is too long a name
        made = make_leaf(others=(), subject=(derived_name(OTHER),))
        refused(made, "as its common name")
    refused(made, "cannot be read")


def test_cve_2022_21654_a_change_of_roots_or_revocations_counts_for_known_certificates(
    make_leaf, make_ca, root, believing, now
):
    checker, made = LeafChecker(), make_leaf(serial=0xF00)
    assert checker.check(made.pem, believing(root), now)
    for denied in ("f00", REVIEWS, f"{root.certificate.serial_number:x}"):
        with pytest.raises(UntrustedError, match="is revoked"):
            checker.check(made.pem, believing(root, revoked=[denied]), now)
    assert checker.check(made.pem, believing(root, revoked=["f0"]), now)
    with pytest.raises(UntrustedError, match="no root"):
        checker.check(made.pem, believing(make_ca("another")), now)
    with pytest.raises(UntrustedError, match="no root"):
        checker.check(made.pem, believing(), now)  # an empty bundle revokes everything
    with pytest.raises(UntrustedError, match="nobody here knows"):
        checker.check(made.pem, Credentials(), now)
    assert checker.check(made.pem, believing(root), now)


def test_a_certificate_is_good_within_its_time_only(make_leaf, root, believing, now):
    checker, made = LeafChecker(), make_leaf()
    for moment in (now - 60, now, now + 3600):
        assert checker.check(made.pem, believing(root), moment)
    with pytest.raises(UntrustedError, match="not valid yet"):
        checker.check(made.pem, believing(root), now - 61)
    with pytest.raises(UntrustedError, match="expired"):
        checker.check(made.pem, believing(root), now + 3601)


def test_a_certificate_ends_with_the_ca_above_it(make_leaf, make_ca, root, believing, now):
    between = make_ca("between", root, end=now + 100)
    made = make_leaf(issuer=between)
    checker = LeafChecker()
    assert checker.check(made.pem + between.pem, believing(root), now + 100).not_after == now + 100
    with pytest.raises(UntrustedError, match="expired"):
        checker.check(made.pem + between.pem, believing(root), now + 101)


def test_a_root_of_another_trust_domain_cannot_vouch(make_leaf, make_ca, root, now):
    theirs = make_ca("theirs")
    bundles = {
        domain: Bundle(trust_domain=domain, roots=(ca.pem,))
        for domain, ca in (("cluster.local", root), ("theirs", theirs))
    }
    both, checker = Credentials(bundles=bundles), LeafChecker()
    assert checker.check(make_leaf().pem, both, now)
    own = make_leaf(uris=("spiffe://theirs/a",), others=(), issuer=theirs)
    assert checker.check(own.pem, both, now).spiffe_id == "spiffe://theirs/a"
    for uri, issuer in ((REVIEWS, theirs), ("spiffe://theirs/a", root)):
        forged = make_leaf(uris=(uri,), others=(), issuer=issuer)
        with pytest.raises(UntrustedError, match="no root of its trust domain"):
            checker.check(forged.pem, both, now)
    unknown = make_leaf(uris=("spiffe://nobody/a",), others=())
    with pytest.raises(UntrustedError, match="nobody here knows the trust domain nobody"):
        checker.check(unknown.pem, both, now)


def test_a_self_signed_leaf_is_refused(make_leaf, refused):
    refused(make_leaf(issuer=None, subject=("a",)), "no root")


def test_a_root_of_the_same_name_with_another_key_is_refused(make_leaf, make_ca, refused):
    refused(make_leaf(issuer=make_ca("a root")), "no root")


def test_intermediates_that_the_peer_sent_are_used_and_not_trusted(
    make_leaf, make_ca, root, refused, check
):
    one = make_ca("one", root)
    two = make_ca("two", one)
    made = make_leaf(issuer=two)
    assert check(made.pem + two.pem + one.pem)
    assert check(made.pem + one.pem + two.pem + one.pem)
    assert check(pem_chain([made.der, two.der, one.der]))
    refused(made.pem + two.pem, "no root")
    refused(made.pem + one.pem, "no root")
    stranger = make_ca("a stranger")
    refused(make_leaf(issuer=stranger).pem + stranger.pem, "no root")


def test_a_leaf_cannot_vouch_for_another(make_leaf, refused):
    middle = make_leaf(subject=("middle",))
    refused(make_leaf(issuer=middle).pem + middle.pem, "cannot vouch")


SPOILED = {
    "it is not a CA": {"constraints": None},
    "key usage is not to sign": {"usage": "none"},
    "name constraints": {
        "extras": ((x509.NameConstraints([URI("cluster.local")], None), False),),
    },
    "unknown critical extension 1.2.3.4": {
        "extras": ((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b""), True),),
    },
    "not meant for this": {"purposes": (ExtendedKeyUsageOID.CODE_SIGNING,)},
}


@pytest.mark.parametrize("why", SPOILED)
def test_a_ca_that_may_not_vouch_does_not(make_leaf, make_ca, root, refused, key_usage, why):
    spoiled = dict(SPOILED[why])
    if spoiled.get("usage"):
        spoiled["usage"] = key_usage(crl_sign=True)
    between = make_ca("between", root, **spoiled)
    refused(make_leaf(issuer=between).pem + between.pem, why)


def test_a_weak_ca_does_not_vouch(make_leaf, make_ca, root, refused):
    between = make_ca("between", root, key=rsa.generate_private_key(65537, 1024))
    refused(make_leaf(issuer=between).pem + between.pem, "RSA key of 1024 bits")


def test_a_ca_for_clients_vouches_for_clients(make_leaf, make_ca, root, check, refused):
    between = make_ca("between", root, purposes=(CLIENT,))
    chain = make_leaf(issuer=between).pem + between.pem
    assert check(chain, Purpose.CLIENT)
    refused(chain, "not meant for this", purpose=Purpose.SERVER)
    anything = make_ca("all", root, purposes=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,))
    assert check(make_leaf(issuer=anything).pem + anything.pem)


def test_a_ca_without_key_usage_vouches(make_leaf, make_ca, root, check):
    between = make_ca("between", root, usage=None)
    assert check(make_leaf(issuer=between).pem + between.pem)


def test_a_path_is_no_longer_than_its_cas_allow(make_leaf, make_ca, believing, refused):
    top = make_ca("top", constraints=x509.BasicConstraints(ca=True, path_length=1))
    one = make_ca("one", top)
    two = make_ca("two", one)
    credentials = believing(top)
    chain = make_leaf(issuer=one).pem + one.pem
    assert LeafChecker().check(chain, credentials, 1_800_000_000)
    chain = make_leaf(issuer=two).pem + two.pem + one.pem
    refused(chain, "more CAs below it than it allows", credentials=credentials)


def test_a_chain_that_is_endless_is_refused(make_leaf, make_ca, root, refused):
    cas = [root]
    for number in range(6):
        cas.append(make_ca(f"ca {number}", cas[-1]))
    chain = b"".join(one.pem for one in cas[1:])
    refused(make_leaf(issuer=cas[-1]).pem + chain, "no root")
    refused(make_leaf().pem * 9, "sent 9 certificates")


def test_an_endless_chain_is_neither_read_nor_remembered(root, believing, now):
    checker = LeafChecker()
    with pytest.raises(UntrustedError, match="32769 bytes is too long"):
        checker.check(b"-" * (LONGEST_CHAIN + 1), believing(root), now)
    assert len(checker) == 0


def test_a_thicket_of_namesakes_costs_the_one_who_sends_it(make_leaf, make_ca, refused):
    key = ec.generate_private_key(ec.SECP256R1())
    loops = [make_ca("loop", make_ca("loop", key=key), key=key) for _ in range(7)]
    leaf = make_leaf(issuer=loops[0])
    refused(leaf.pem + b"".join(one.pem for one in loops), "too many certificates of the same")


def test_weak_keys_and_digests_are_refused(make_leaf, make_ca, root, refused):
    refused(make_leaf(key=rsa.generate_private_key(65537, 1024)), "RSA key of 1024 bits")
    refused(make_leaf(key=ec.generate_private_key(ec.SECP224R1())), "secp224r1")
    refused(make_leaf(key=ed25519.Ed25519PrivateKey.generate()), "neither EC nor RSA")


def test_an_rsa_leaf_is_taken(make_leaf, check):
    assert check(make_leaf(key=rsa.generate_private_key(65537, 2048)).pem)


def test_an_unknown_critical_extension_is_refused(make_leaf, refused):
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    refused(make_leaf(extras=((odd, True),)), "unknown critical extension 1.2.3.4")


def test_an_unknown_extension_that_may_be_overlooked_is(make_leaf, check):
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert check(make_leaf(extras=((odd, False),)).pem)


@pytest.mark.parametrize(
    "chain", [b"", b"x", b"\x30\x03\x02\x01\x01", b"-----BEGIN CERTIFICATE-----", b"\0" * 99]
)
def test_what_is_no_certificate_is_refused(refused, chain):
    refused(chain, "cannot be read")


def test_roots_that_cannot_be_read_vouch_for_nobody(make_leaf, now):
    bundle = Bundle(trust_domain="cluster.local", roots=(b"garbage",))
    with pytest.raises(UntrustedError, match=r"roots of cluster\.local cannot be read"):
        LeafChecker().check(make_leaf().pem, Credentials(bundles={"cluster.local": bundle}), now)


def test_findings_are_remembered_the_newest_of_them(make_leaf, root, believing, now):
    checker, credentials = LeafChecker(2), believing(root)
    chains = [make_leaf().pem for _ in range(3)]
    for chain in (*chains[:2], chains[0], chains[2], b"garbage"):
        if chain == b"garbage":
            with pytest.raises(UntrustedError):
                checker.check(chain, credentials, now)
        else:
            checker.check(chain, credentials, now)
    assert len(checker) == 2
    assert [key[0] for key in checker._findings] == [chains[2], b"garbage"]


def test_the_program_has_one_checker_for_all(make_leaf, root, believing, now):
    made = make_leaf()
    first = check_leaf(made.pem, believing(root), now)
    assert check_leaf(bytes(bytearray(made.pem)), believing(root), now) is first


def test_a_known_certificate_costs_far_less_than_a_new_one(make_leaf, root, believing, now):
    credentials = believing(root)
    chains = [make_leaf().pem for _ in range(5)]

    checker = LeafChecker()

    def cost(chain):
        begin = perf_counter()
        checker.check(chain, credentials, now)
        return perf_counter() - begin

    new = median(map(cost, chains))
    known = median(map(cost, chains * 40))
    assert known < new / 5


def test_sha1_is_no_signature(root, refused, tmp_path):
    (tmp_path / "root.pem").write_bytes(root.pem + private_pem(root.key))
    (tmp_path / "names").write_text(
        f"subjectAltName=critical,URI:{REVIEWS}\nkeyUsage=critical,digitalSignature\n"
    )
    made = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k"
    subprocess.run([*made.split(), "-subj", "/", "-out", "csr"], cwd=tmp_path, check=True)
    signed = "openssl x509 -req -in csr -sha1 -CA root.pem -days 1 -extfile names -out leaf"
    subprocess.run(signed.split(), cwd=tmp_path, check=True)
    refused((tmp_path / "leaf").read_bytes(), "weak digest")


@pytest.mark.filterwarnings("ignore")
def test_a_serial_number_that_is_not_positive_is_refused(make_leaf, refused):
    der = make_leaf(serial=0x7AFE7AFE).der.replace(b"\x7a\xfe\x7a\xfe", b"\xfa\xfe\x7a\xfe", 1)
    refused(der, "serial number is not positive|cannot be read")


def test_a_certificate_of_an_older_version_is_refused(make_leaf, refused):
    version = b"\xa0\x03\x02\x01"
    der = make_leaf().der
    refused(der.replace(version + b"\x02", version + b"\x01", 1), "cannot be read")
    outer, inner = int.from_bytes(der[2:4]) - 5, int.from_bytes(der[6:8]) - 5
    lengths = [b"\x30\x82" + length.to_bytes(2) for length in (outer, inner)]
    assert der[8:13] == version + b"\x02"  # left out, it says version 1
    refused(b"".join(lengths) + der[13:], "not of X.509 version 3")
