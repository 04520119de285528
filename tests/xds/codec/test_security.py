"""What is said of TLS is kept to the letter, or refused with the place."""

import pytest

from meshlib.errors import ConfigError
from meshlib.model import Contains, Exact
from meshlib.model.security import (
    CertificateFiles,
    CertificateProviderInstance,
    CertificateValidation,
    RootFile,
    SanMatcher,
    SanType,
    SdsSecret,
    Secret,
    SystemRoots,
    UpstreamTls,
)
from meshlib.xds.codec import decode_snapshot, encode, encode_json

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
ADS = {"ads": {}}
RAW = {
    "name": "raw",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    },
}
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}
ROOTS = {"validation_context": {"system_root_certs": {}}}
SHOWN = {
    "tls_certificates": [{"certificate_chain": {"filename": "c"}, "private_key": {"filename": "k"}}]
}


def upstream(common=ROOTS, **rest):
    config = {"@type": TLS + "UpstreamTlsContext", "common_tls_context": common, **rest}
    return {"name": "tls", "typed_config": config}


def downstream(common=SHOWN, **rest):
    config = {"@type": TLS + "DownstreamTlsContext", "common_tls_context": common, **rest}
    return {"name": "tls", "typed_config": config}


def cluster_of(common=ROOTS, **rest):
    snapshot = decode_snapshot([a_cluster(transport_socket=upstream(common, **rest))])
    return snapshot.clusters["c"].tls


def a_cluster(**fields):
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "c",
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS},
        **fields,
    }


def a_chain(prefix="p", **fields):
    http = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": prefix,
        "http_filters": [ROUTER],
        "route_config": {"name": "r"},
    }
    return {"filters": [{"name": "hcm", "typed_config": http}], **fields}


def a_listener(*chains, **fields):
    return {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "inbound",
        "address": {"socket_address": {"address": "::", "port_value": 1}},
        "filter_chains": list(chains),
        **fields,
    }


def listener_of(*chains, **fields):
    return decode_snapshot([a_listener(*chains, **fields)]).listeners["inbound"]


def refusal(resource):
    with pytest.raises(ConfigError) as raised:
        decode_snapshot([resource])
    return str(raised.value)


def test_a_service_of_the_mesh_is_known_by_its_secrets_and_names():
    combined = {
        "default_validation_context": {
            "match_typed_subject_alt_names": [
                {"san_type": "URI", "matcher": {"exact": "spiffe://td/ns/a/sa/b"}}
            ],
            "match_subject_alt_names": [{"contains": "b"}],
        },
        "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": ADS},
    }
    certificate = [{"name": "default", "sds_config": ADS}]
    common = {
        "tls_certificate_sds_secret_configs": certificate,
        "combined_validation_context": combined,
        "alpn_protocols": ["istio"],
    }
    assert cluster_of(common, sni="outbound_.9080_._.b") == UpstreamTls(
        certificate=SdsSecret("default"),
        validation=CertificateValidation(
            roots=SdsSecret("ROOTCA"),
            match_subject_alt_names=(
                SanMatcher(match=Exact("spiffe://td/ns/a/sa/b"), san_type=SanType.URI),
                SanMatcher(match=Contains("b")),
            ),
        ),
        sni="outbound_.9080_._.b",
        alpn_protocols=("istio",),
    )


OLD = {"instance_name": "old", "certificate_name": "x"}
NEW = {"instance_name": "new"}


@pytest.mark.parametrize(
    ("common", "certificate", "roots"),
    [
        (
            {
                "tls_certificate_certificate_provider_instance": OLD,
                "validation_context_certificate_provider_instance": OLD,
            },
            "old",
            "old",
        ),
        (
            {
                "tls_certificate_certificate_provider_instance": OLD,
                "tls_certificate_provider_instance": NEW,
                "combined_validation_context": {
                    "default_validation_context": {"ca_certificate_provider_instance": NEW},
                    "validation_context_certificate_provider_instance": OLD,
                },
            },
            "new",
            "new",
        ),
        (
            {
                "combined_validation_context": {
                    "default_validation_context": {},
                    "validation_context_certificate_provider_instance": OLD,
                },
            },
            None,
            "old",
        ),
    ],
)
def test_providers_are_found_in_their_old_and_new_fields(common, certificate, roots):
    tls = cluster_of(common)
    assert (tls.certificate and tls.certificate.instance_name) == certificate
    assert isinstance(tls.validation.roots, CertificateProviderInstance)
    assert tls.validation.roots.instance_name == roots


def test_files_and_system_roots_are_kept():
    tls = cluster_of({**ROOTS, **SHOWN}, auto_host_sni=True, auto_sni_san_validation=True)
    assert tls.certificate == CertificateFiles("c", "k")
    assert tls.validation.roots == SystemRoots()
    crl = {"trusted_ca": {"filename": "r"}, "crl": {"filename": "l"}}
    found = cluster_of({"validation_context": crl}).validation
    assert (found.roots, found.crl) == (RootFile("r"), "l")


CHECKED = {"system_root_certs": {}}
SANS = {**CHECKED, "match_subject_alt_names": [{"exact": "a"}]}


@pytest.mark.parametrize(
    ("common", "where"),
    [
        ({}, "common_tls_context: no validation"),
        ({"validation_context": {}}, "validation_context: no roots"),
        ({**ROOTS, "custom_handshaker": {"name": "x"}}, "custom_handshaker: is not supported"),
        ({**ROOTS, "key_log": {"path": "x"}}, "key_log: is not supported"),
        (
            {**ROOTS, "tls_params": {"tls_minimum_protocol_version": "TLSv1_0"}},
            "tls_params.tls_minimum_protocol_version: TLSv1_0 is not supported",
        ),
        (
            {**ROOTS, "tls_params": {"tls_maximum_protocol_version": "TLSv1_2"}},
            "tls_params.tls_maximum_protocol_version: TLSv1_2 is not supported",
        ),
        ({**ROOTS, "tls_params": {"cipher_suites": ["x"]}}, "tls_params.cipher_suites: is not"),
        (
            {"validation_context": {**CHECKED, "verify_certificate_spki": ["x" * 44]}},
            "verify_certificate_spki: is not supported",
        ),
        (
            {"validation_context": {**CHECKED, "verify_certificate_hash": ["x" * 64]}},
            "verify_certificate_hash: is not supported",
        ),
        (
            {"validation_context": {**CHECKED, "allow_expired_certificate": True}},
            "allow_expired_certificate: is not supported",
        ),
        (
            {"validation_context": {**CHECKED, "trust_chain_verification": "ACCEPT_UNTRUSTED"}},
            "trust_chain_verification: must be VERIFY_TRUST_CHAIN",
        ),
        (
            {"validation_context": {"trusted_ca": {"inline_string": "x"}}},
            "trusted_ca.inline_string: is not supported",
        ),
        (
            {
                "validation_context": {
                    **CHECKED,
                    "match_subject_alt_names": [
                        {"safe_regex": {"regex": "a"}, "ignore_case": True}
                    ],
                }
            },
            "match_subject_alt_names[0].ignore_case: is not supported",
        ),
        (
            {
                "validation_context": {
                    **CHECKED,
                    "match_typed_subject_alt_names": [
                        {"san_type": "OTHER_NAME", "oid": "1.2", "matcher": {"exact": "a"}}
                    ],
                }
            },
            "match_typed_subject_alt_names[0].san_type: OTHER_NAME is not supported",
        ),
        (
            {
                "combined_validation_context": {
                    "default_validation_context": {},
                    "validation_context_sds_secret_config": {"name": "R"},
                }
            },
            "validation_context_sds_secret_config.sds_config: must be ads or self",
        ),
        ({**ROOTS, "tls_certificates": SHOWN["tls_certificates"] * 2}, "one certificate"),
    ],
)
def test_what_would_not_be_checked_is_refused_by_its_path(common, where):
    found = refusal(a_cluster(transport_socket=upstream(common)))
    assert "clusters/c: transport_socket.typed_config" in found
    assert where in found


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"allow_renegotiation": True}, "allow_renegotiation"),
        ({"enforce_rsa_key_usage": True}, "enforce_rsa_key_usage"),
        (
            {"common": {"validation_context": SANS}, "auto_sni_san_validation": True},
            "auto_sni_san_validation",
        ),
    ],
)
def test_what_a_client_cannot_do_is_refused(fields, where):
    found = refusal(a_cluster(transport_socket=upstream(**fields)))
    assert f"typed_config.{where}: is not supported" in found


@pytest.mark.parametrize(
    ("socket", "where"),
    [
        (downstream(ROOTS), "common_tls_context: no certificate to show"),
        (
            downstream(require_client_certificate=True),
            "require_client_certificate: without a validation of it",
        ),
        (downstream(require_sni=True), "require_sni: is not supported"),
        (downstream(ocsp_staple_policy="MUST_STAPLE"), "ocsp_staple_policy: is not supported"),
        (downstream(session_ticket_keys={}), "session_ticket_keys: is not supported"),
        ({"name": "x"}, "transport_socket: without typed_config is not supported"),
        (upstream(), "UpstreamTlsContext is not supported"),
    ],
)
def test_a_server_that_could_not_do_as_told_is_refused(socket, where):
    assert where in refusal(a_listener(a_chain(transport_socket=socket)))


SECURE = a_chain(transport_socket=downstream())


def fits(protocol, **fields):
    return {**fields, "filter_chain_match": {"transport_protocol": protocol}}


def test_a_chain_with_tls_is_strict():
    for chain in (SECURE, fits("tls", **SECURE)):
        listener = listener_of(chain)
        assert listener.tls is not None
        assert not listener.plaintext


def test_a_chain_with_tls_and_one_without_are_permissive():
    both = fits("tls", **SECURE)
    for listener in (
        listener_of(both, fits("raw_buffer", **a_chain())),
        listener_of(fits("raw_buffer", **a_chain(transport_socket=RAW)), both),
        listener_of(both, default_filter_chain=a_chain()),
    ):
        assert listener.tls is not None
        assert listener.plaintext
        shown = encode_json(listener)
        assert [one["name"] for one in shown["listener_filters"]] == [
            "envoy.filters.listener.tls_inspector"
        ]


@pytest.mark.parametrize(
    ("chains", "what"),
    [
        ([fits("tls", **a_chain())], "a chain that no connection fits"),
        ([fits("raw_buffer", **SECURE)], "a chain that no connection fits"),
        ([SECURE, SECURE], "two chains must be"),
        ([SECURE, a_chain()], "two chains must be"),
        ([fits("tls", **SECURE), SECURE], "two chains must be"),
        ([fits("tls", **SECURE), a_chain("q")], "must be alike"),
        (
            [{**SECURE, "filter_chain_match": {"server_names": ["a"]}}],
            "filter_chains[0].filter_chain_match.server_names: is not supported",
        ),
    ],
)
def test_other_chains_are_refused(chains, what):
    assert what in refusal(a_listener(*chains))


def test_the_metadata_of_an_endpoint_chooses_the_socket():
    tls = {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": upstream()}
    plain = {"name": "tlsMode-disabled", "transport_socket": RAW}
    snapshot = decode_snapshot([a_cluster(transport_socket_matches=[tls, plain])])
    istio, disabled = snapshot.clusters["c"].transport_socket_matches
    assert (istio.match.get("tlsMode"), istio.tls) == ("istio", cluster_of())
    assert (disabled.match.fields, disabled.tls) == ((), None)


def test_a_match_that_says_no_socket_is_refused():
    found = refusal(a_cluster(transport_socket_matches=[{"name": "x"}]))
    assert "transport_socket_matches[x].transport_socket: must be set" in found


@pytest.mark.parametrize(
    ("secret", "what"),
    [
        ({"name": "s"}, "neither a tls_certificate nor"),
        ({"name": "s", "generic_secret": {}}, "generic_secret: is not supported"),
        (
            {"name": "s", "tls_certificate": {"certificate_chain": {"filename": "/x"}}},
            "certificate_chain.filename: is not supported",
        ),
        (
            {
                "name": "s",
                "validation_context": {
                    "trusted_ca": {"inline_string": "r"},
                    "match_subject_alt_names": [{"exact": "a"}],
                },
            },
            "match_subject_alt_names: is not supported",
        ),
    ],
)
def test_a_secret_that_cannot_be_used_is_refused(secret, what):
    assert what in refusal({"@type": TLS + "Secret", **secret})


def test_a_secret_never_becomes_part_of_a_snapshot():
    packed = encode_json(Secret(name="default", certificate_chain=b"c", private_key=b"k"))
    assert "secrets/default: has no place in a snapshot" in refusal(packed)


def test_a_key_is_not_shown():
    assert "k3y" not in repr(Secret(name="s", certificate_chain=b"c", private_key=b"k3y"))
    assert b"k3y" in encode(Secret(name="s", certificate_chain=b"c", private_key=b"k3y")).value
