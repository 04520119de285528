"""``envoy.extensions.transport_sockets.tls.v3`` ⇄ model.security (gRFCs A29 and A82)."""

from ...model.security import (
    CertificateFiles,
    CertificateProviderInstance,
    CertificateSource,
    CertificateValidation,
    DownstreamTls,
    SdsSecret,
    Secret,
    UpstreamTls,
)
from .validation import (
    decode_provider,
    decode_sds,
    decode_validation,
    encode_validation,
    file_name,
    provider,
    sds,
)
from .wire import Fields, Reader, wrapped

TLS = "envoy.extensions.transport_sockets.tls.v3."
UPSTREAM = TLS + "UpstreamTlsContext"
DOWNSTREAM = TLS + "DownstreamTlsContext"

UNHELD = CertificateFiles("", "")
"""Stands for a certificate that is refused."""
INSTANCE = "tls_certificate_provider_instance"
OLD_INSTANCE = "tls_certificate_certificate_provider_instance"
BY_SDS = "tls_certificate_sds_secret_configs"
LEAST = ("TLS_AUTO", "TLSv1_2")
MOST = ("TLS_AUTO", "TLSv1_3")


def encode_upstream(tls: UpstreamTls) -> Fields:
    return {
        "common_tls_context": _common(tls.certificate, tls.validation, tls.alpn_protocols),
        "sni": tls.sni,
        "auto_host_sni": tls.auto_host_sni,
    }


def decode_upstream(reader: Reader) -> UpstreamTls:
    reader.refuse_set("allow_renegotiation", "enforce_rsa_key_usage")
    reader.skip("max_session_keys")  # no session is ever taken up again
    certificate, validation, alpn = _decode_common(reader.child("common_tls_context"))
    tls = UpstreamTls(
        validation=validation,
        certificate=certificate,
        sni=reader.text("sni"),
        auto_host_sni=reader.flag("auto_host_sni"),
        alpn_protocols=alpn,
    )
    if validation is None:
        reader.problem("no validation: the server could be anybody", "common_tls_context")
    elif validation.match_subject_alt_names:
        reader.refuse_set("auto_sni_san_validation")
    reader.skip("auto_sni_san_validation")  # where no other name is asked for it is always done
    return tls


def encode_downstream(tls: DownstreamTls) -> Fields:
    required = wrapped(True) if tls.require_client_certificate else None
    return {
        "common_tls_context": _common(tls.certificate, tls.validation, tls.alpn_protocols),
        "require_client_certificate": required,
    }


def decode_downstream(reader: Reader) -> DownstreamTls:
    reader.refuse_set(
        "require_sni",
        "ocsp_staple_policy",
        "session_ticket_keys",
        "session_ticket_keys_sds_secret_config",
    )
    # No session is ever taken up again.
    reader.skip("disable_stateless_session_resumption", "disable_stateful_session_resumption")
    reader.skip("session_timeout")
    certificate, validation, alpn = _decode_common(reader.child("common_tls_context"))
    required = reader.flag("require_client_certificate")
    if required and validation is None:
        reader.problem("without a validation of it", "require_client_certificate")
    if certificate is None:
        reader.problem("no certificate to show", "common_tls_context")
    return DownstreamTls(
        certificate=certificate or UNHELD,
        validation=validation,
        require_client_certificate=required,
        alpn_protocols=alpn,
    )


def _common(
    certificate: CertificateSource | None,
    validation: CertificateValidation | None,
    alpn: tuple[str, ...],
) -> Fields:
    return {
        "alpn_protocols": alpn,
        **encode_validation(validation),
        **_encode_certificate(certificate),
    }


def _encode_certificate(certificate: CertificateSource | None) -> Fields:
    match certificate:
        case None:
            return {}
        case SdsSecret(name):
            return {BY_SDS: [sds(name)]}
        case CertificateProviderInstance():
            return {INSTANCE: provider(certificate)}
        case CertificateFiles(chain, key):
            files = {"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}
            return {"tls_certificates": [files]}


def _decode_common(
    common: Reader,
) -> tuple[CertificateSource | None, CertificateValidation | None, tuple[str, ...]]:
    common.refuse_set(
        "custom_handshaker",
        "custom_tls_certificate_selector",
        "key_log",
        "tls_certificate_certificate_provider",
    )
    _check_parameters(common)
    certificate = _decode_certificate(common)
    return certificate, decode_validation(common), common.texts("alpn_protocols")


def _check_parameters(common: Reader) -> None:
    """Ours are TLS 1.2 to 1.3 with the library's own ciphers, and no others."""
    parameters = common.optional_child("tls_params")
    if parameters is None:
        return
    for field, known in (
        ("tls_minimum_protocol_version", LEAST),
        ("tls_maximum_protocol_version", MOST),
    ):
        if (found := parameters.enum(field)) not in known:
            parameters.problem(f"{found} is not supported", field)
    parameters.refuse_set(
        "cipher_suites", "ecdh_curves", "signature_algorithms", "compliance_policies"
    )


def _decode_certificate(common: Reader) -> CertificateSource | None:
    old = common.optional_child(OLD_INSTANCE)
    found: list[CertificateSource] = [
        decode_sds(one) for one in common.children(BY_SDS, lambda message: message.name)
    ]
    found += [_decode_files(one) for one in common.children("tls_certificates")]
    if common.has(INSTANCE):
        found.append(decode_provider(common.child(INSTANCE)))
    elif old is not None:
        found.append(decode_provider(old))
    if len(found) > 1:
        common.problem(f"one certificate is supported, not {len(found)}")
    return found[0] if found else None


def _decode_files(reader: Reader) -> CertificateFiles:
    reader.skip("watched_directory")  # files are read again anyway
    reader.refuse_set(
        "pkcs12", "private_key_provider", "password", "ocsp_staple", "signed_certificate_timestamp"
    )
    chain, key = reader.child("certificate_chain"), reader.child("private_key")
    return CertificateFiles(file_name(chain), file_name(key))


def encode_secret(secret: Secret) -> Fields:
    if secret.trusted_ca:
        trusted = {"trusted_ca": {"inline_bytes": secret.trusted_ca}}
        return {"name": secret.name, "validation_context": trusted}
    held = {
        "certificate_chain": {"inline_bytes": secret.certificate_chain},
        "private_key": {"inline_bytes": secret.private_key},
    }
    return {"name": secret.name, "tls_certificate": held}


def decode_secret(reader: Reader) -> Secret:
    name = reader.text("name", required=True)
    if reader.has("validation_context"):
        validation = reader.child("validation_context")
        validation.refuse_all(but="trusted_ca")
        return Secret(name=name, trusted_ca=_octets(validation.child("trusted_ca")))
    if not reader.has("tls_certificate"):
        reader.refuse(
            "session_ticket_keys",
            "generic_secret",
            otherwise="neither a tls_certificate nor a validation_context",
        )
        return Secret(name=name)
    certificate = reader.child("tls_certificate")
    chain = _octets(certificate.child("certificate_chain"))
    key = _octets(certificate.child("private_key"))
    certificate.refuse_all()
    return Secret(name=name, certificate_chain=chain, private_key=key)


def _octets(source: Reader) -> bytes:
    """What a ``DataSource`` holds itself: the files of who sends a secret are not here."""
    found = source.octets("inline_bytes") or source.text("inline_string").encode()
    if not found:
        source.refuse("filename", "environment_variable", otherwise="must not be empty")
    return found
