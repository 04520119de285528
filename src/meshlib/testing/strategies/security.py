"""Hypothesis strategies for transport security."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model.security import (
    CertificateFiles,
    CertificateProviderInstance,
    CertificateValidation,
    DownstreamTls,
    RootFile,
    SanMatcher,
    SanType,
    SdsSecret,
    Secret,
    SystemRoots,
    TransportSocketMatch,
    UpstreamTls,
)

from .basics import NAME, TEXT, optional, some, structs
from .matchers import string_matchers

PEM = st.binary(min_size=1, max_size=8)


def _providers() -> SearchStrategy[CertificateProviderInstance]:
    return st.builds(CertificateProviderInstance, NAME, TEXT)


def certificate_sources() -> SearchStrategy[
    SdsSecret | CertificateProviderInstance | CertificateFiles
]:
    return st.builds(SdsSecret, NAME) | _providers() | st.builds(CertificateFiles, NAME, NAME)


def san_matchers(kinds: SearchStrategy[SanType | None]) -> SearchStrategy[SanMatcher]:
    return st.builds(SanMatcher, match=string_matchers(), san_type=kinds)


def certificate_validations() -> SearchStrategy[CertificateValidation]:
    typed = some(san_matchers(st.sampled_from(SanType)))
    plain = some(san_matchers(st.none()))
    return st.builds(
        CertificateValidation,
        roots=st.builds(SdsSecret, NAME)
        | _providers()
        | st.builds(RootFile, NAME)
        | st.just(SystemRoots()),
        match_subject_alt_names=st.builds(tuple.__add__, typed, plain),
        crl=TEXT,
    )


def upstream_tls() -> SearchStrategy[UpstreamTls]:
    return st.builds(
        UpstreamTls,
        validation=certificate_validations(),
        certificate=optional(certificate_sources()),
        sni=TEXT,
        auto_host_sni=st.booleans(),
        alpn_protocols=some(NAME),
    )


def downstream_tls() -> SearchStrategy[DownstreamTls]:
    def made(
        validation: CertificateValidation | None, *, required: bool, **rest: object
    ) -> DownstreamTls:
        required = required and validation is not None
        return DownstreamTls(
            validation=validation,
            require_client_certificate=required,
            **rest,  # type: ignore[arg-type]
        )

    return st.builds(
        made,
        optional(certificate_validations()),
        required=st.booleans(),
        certificate=certificate_sources(),
        alpn_protocols=some(NAME),
    )


def transport_socket_matches() -> SearchStrategy[TransportSocketMatch]:
    tls = optional(upstream_tls())
    return st.builds(TransportSocketMatch, name=NAME, match=structs(), tls=tls)


def secrets() -> SearchStrategy[Secret]:
    roots = st.builds(Secret, name=NAME, trusted_ca=PEM)
    return roots | st.builds(Secret, name=NAME, certificate_chain=PEM, private_key=PEM)
