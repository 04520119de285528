"""``CertificateValidationContext`` ⇄ :class:`CertificateValidation`: whom a peer believes.

What would not be checked here is refused: a check that is left out lets strangers in.
"""

from ...model.security import (
    CertificateProviderInstance,
    CertificateValidation,
    RootFile,
    RootSource,
    SanMatcher,
    SanType,
    SdsSecret,
    SystemRoots,
)
from .string_matcher import decode_string, encode_string
from .wire import Fields, Reader, ads, from_ads

NOTHING = RootFile("")
"""Stands for roots that are refused."""
PROVIDER = "ca_certificate_provider_instance"
COMBINED = "combined_validation_context"
BY_SDS = "validation_context_sds_secret_config"
BY_OLD_PROVIDER = "validation_context_certificate_provider_instance"
UNCHECKED = (
    "verify_certificate_spki",
    "verify_certificate_hash",
    "require_signed_certificate_timestamp",
    "allow_expired_certificate",
    "custom_validator_config",
    "only_verify_leaf_cert_crl",
    "max_verify_depth",
)


def sds(name: str) -> Fields:
    return {"name": name, "sds_config": ads()}


def decode_sds(secret: Reader) -> SdsSecret:
    from_ads(secret.child("sds_config"))
    return SdsSecret(secret.text("name", required=True))


def provider(instance: CertificateProviderInstance) -> Fields:
    return {
        "instance_name": instance.instance_name,
        "certificate_name": instance.certificate_name,
    }


def decode_provider(reader: Reader) -> CertificateProviderInstance:
    name = reader.text("instance_name", required=True)
    return CertificateProviderInstance(name, reader.text("certificate_name"))


def file_name(source: Reader) -> str:
    """The path in a ``DataSource``; what is given in line was shown to everybody on the way."""
    if not source.has("filename"):
        source.refuse(
            "inline_bytes", "inline_string", "environment_variable", otherwise="must be a file name"
        )
        return ""
    source.skip("watched_directory")  # files are read again anyway
    return source.text("filename", required=True)


def encode_validation(validation: CertificateValidation | None) -> Fields:
    """The field of a ``CommonTlsContext`` that says it."""
    if validation is None:
        return {}
    said = _encode_checks(validation)
    match validation.roots:
        case SdsSecret(name) if not said:
            return {BY_SDS: sds(name)}
        case SdsSecret(name):
            return {COMBINED: {"default_validation_context": said, BY_SDS: sds(name)}}
        case CertificateProviderInstance() as instance:
            return {"validation_context": {**said, PROVIDER: provider(instance)}}
        case RootFile(path):
            return {"validation_context": {**said, "trusted_ca": {"filename": path}}}
        case SystemRoots():
            return {"validation_context": {**said, "system_root_certs": {}}}


def _encode_checks(validation: CertificateValidation) -> Fields:
    sans = validation.match_subject_alt_names
    said: Fields = {
        "match_typed_subject_alt_names": [
            {"san_type": one.san_type.value, "matcher": encode_string(one.match)}
            for one in sans
            if one.san_type is not None
        ],
        "match_subject_alt_names": [
            encode_string(one.match) for one in sans if one.san_type is None
        ],
        "crl": {"filename": validation.crl} if validation.crl else None,
    }
    return {field: value for field, value in said.items() if value}


def decode_validation(common: Reader) -> CertificateValidation | None:
    """Out of the ``CommonTlsContext``; the combined one and the old providers are understood."""
    common.refuse_set("validation_context_certificate_provider")
    if common.has(BY_SDS):
        return CertificateValidation(roots=decode_sds(common.child(BY_SDS)))
    old = common.optional_child(BY_OLD_PROVIDER)
    if common.has(COMBINED):
        return _decode_combined(common.child(COMBINED), old)
    if common.has("validation_context"):
        return _decode_checks(common.child("validation_context"), old)
    return None if old is None else CertificateValidation(roots=decode_provider(old))


def _decode_combined(combined: Reader, old: Reader | None) -> CertificateValidation:
    combined.refuse_set("validation_context_certificate_provider")
    older = combined.optional_child(BY_OLD_PROVIDER) or old
    default = combined.child("default_validation_context")
    if combined.has(BY_SDS):
        default.skip("trusted_ca", PROVIDER, "system_root_certs")  # the discovered roots win
        return _checks(default, decode_sds(combined.child(BY_SDS)))
    return _decode_checks(default, older)


def _decode_checks(reader: Reader, old: Reader | None) -> CertificateValidation:
    return _checks(reader, _decode_roots(reader, old))


def _decode_roots(reader: Reader, old: Reader | None) -> RootSource:
    if reader.has(PROVIDER):
        return decode_provider(reader.child(PROVIDER))
    if old is not None:
        return decode_provider(old)
    if reader.has("trusted_ca"):
        return RootFile(file_name(reader.child("trusted_ca")))
    if reader.has("system_root_certs"):
        reader.skip("system_root_certs")
        return SystemRoots()
    reader.problem("no roots: nobody could be told from anybody else")
    return NOTHING


def _checks(reader: Reader, roots: RootSource) -> CertificateValidation:
    reader.skip("watched_directory")  # files are read again anyway
    reader.refuse_set(*UNCHECKED)
    if reader.enum("trust_chain_verification") != "VERIFY_TRUST_CHAIN":
        reader.problem("must be VERIFY_TRUST_CHAIN", "trust_chain_verification")
    crl = reader.optional_child("crl")
    typed = reader.children("match_typed_subject_alt_names")
    plain = reader.children("match_subject_alt_names")
    return CertificateValidation(
        roots=roots,
        match_subject_alt_names=(
            *(_decode_typed(one) for one in typed),
            *(_decode_san(one, None) for one in plain),
        ),
        crl="" if crl is None else file_name(crl),
    )


def _decode_typed(reader: Reader) -> SanMatcher:
    name = reader.enum("san_type")
    kind = SanType.__members__.get(name)
    if kind is None:
        reader.problem(f"{name} is not supported", "san_type")
    reader.refuse_set("oid")
    return _decode_san(reader.child("matcher"), kind)


def _decode_san(matcher: Reader, kind: SanType | None) -> SanMatcher:
    if matcher.has("safe_regex"):
        matcher.refuse_set("ignore_case")
    return SanMatcher(match=decode_string(matcher), san_type=kind)
