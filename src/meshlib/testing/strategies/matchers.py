"""Hypothesis strategies for matchers."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import (
    Contains,
    Exact,
    HeaderMatcher,
    MetadataMatcher,
    PathExact,
    PathMatcher,
    PathPrefix,
    PathRegex,
    PathSeparatedPrefix,
    Prefix,
    Present,
    QueryParameterMatcher,
    Range,
    RouteMatch,
    RuntimeFraction,
    SafeRegex,
    StringMatcher,
    Suffix,
)

from .basics import DENOMINATOR, HEADER_NAME, INT64, NAME, REGEX, TEXT, UINT32, optional, some


def string_matchers() -> SearchStrategy[StringMatcher]:
    return st.one_of(
        st.builds(Exact, TEXT, st.booleans()),
        st.builds(Prefix, NAME, st.booleans()),
        st.builds(Suffix, NAME, st.booleans()),
        st.builds(Contains, NAME, st.booleans()),
        st.builds(SafeRegex, REGEX),
    )


def header_matchers() -> SearchStrategy[HeaderMatcher]:
    present = st.builds(Present, st.booleans())
    return st.builds(
        HeaderMatcher,
        name=HEADER_NAME,
        match=string_matchers() | st.builds(Range, INT64, INT64) | present,
        invert_match=st.booleans(),
        treat_missing_header_as_empty=st.booleans(),
    )


def path_matchers() -> SearchStrategy[PathMatcher]:
    separable = st.from_regex(r"(/[a-z]{1,3}){1,3}", fullmatch=True)
    return st.one_of(
        st.builds(PathPrefix, TEXT),
        st.builds(PathExact, TEXT),
        st.builds(PathSeparatedPrefix, separable),
        st.builds(PathRegex, REGEX),
    )


def metadata_matchers() -> SearchStrategy[MetadataMatcher]:
    number = st.integers(-(2**53), 2**53)
    return st.builds(
        MetadataMatcher,
        filter=NAME,
        path=some(NAME, least=1),
        match=st.one_of(
            string_matchers(),
            st.builds(Range, number, number),
            st.builds(Present, st.booleans()),
            st.booleans(),
            st.none(),
        ),
        invert=st.booleans(),
    )


def route_matches() -> SearchStrategy[RouteMatch]:
    query = st.builds(
        QueryParameterMatcher,
        name=NAME,
        match=string_matchers() | st.builds(Present, st.booleans()),
    )
    fraction = st.builds(
        RuntimeFraction, numerator=UINT32, denominator=DENOMINATOR, runtime_key=TEXT
    )
    return st.builds(
        RouteMatch,
        path=path_matchers(),
        case_sensitive=st.booleans(),
        headers=some(header_matchers()),
        grpc=st.booleans(),
        query_parameters=some(query),
        runtime_fraction=optional(fraction),
        dynamic_metadata=some(metadata_matchers()),
    )
