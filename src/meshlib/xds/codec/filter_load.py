"""Adaptive concurrency and admission control: servers that refuse what they could not serve."""

from ...errors import ConfigError
from ...model import AdaptiveConcurrency, AdmissionControl
from . import runtime
from .status import Ranges, decode_status, decode_statuses, encode_status, encode_statuses
from .wire import Fields, FilterCodec, Reader, duration, wrapped

ADAPTIVE = AdaptiveConcurrency()
ADMISSION = AdmissionControl()
MAX_GRPC_STATUS = 16


def _encode_adaptive(config: AdaptiveConcurrency) -> Fields:
    if config.max_loop_lag is not None:
        raise ConfigError("max_loop_lag is meshlib's own: it stays where it is configured")
    fixed = config.fixed_min_rtt
    min_rtt = {
        "interval": duration(config.min_rtt_interval),
        "fixed_value": duration(fixed),
        "request_count": wrapped(config.min_rtt_request_count),
        "jitter": wrapped(config.min_rtt_jitter),
        "min_concurrency": wrapped(config.min_concurrency),
        "buffer": wrapped(config.min_rtt_buffer),
    }
    gradient = {
        "sample_aggregate_percentile": wrapped(config.sample_aggregate_percentile),
        "concurrency_limit_params": {
            "max_concurrency_limit": wrapped(config.max_concurrency_limit),
            "concurrency_update_interval": duration(config.concurrency_update_interval),
        },
        "min_rtt_calc_params": min_rtt,
    }
    return {
        "gradient_controller_config": gradient,
        "enabled": runtime.encode_flag(value=config.enabled, field="adaptive_concurrency.enabled"),
        "concurrency_limit_exceeded_status": encode_status(config.status),
    }


def _decode_adaptive(reader: Reader) -> AdaptiveConcurrency:
    if not reader.has("gradient_controller_config"):
        reader.problem("must be set", "gradient_controller_config")
    gradient = reader.child("gradient_controller_config")
    limit = gradient.child("concurrency_limit_params")
    min_rtt = gradient.child("min_rtt_calc_params")
    for holder, field in ((limit, "concurrency_update_interval"), (min_rtt, "interval")):
        if not holder.which(field, "fixed_value"):
            holder.problem("must be set", field)
    return AdaptiveConcurrency(
        enabled=runtime.decode_flag(reader, "enabled"),
        sample_aggregate_percentile=_percent(gradient, "sample_aggregate_percentile", 50.0),
        max_concurrency_limit=limit.number("max_concurrency_limit", 1000, low=1),
        concurrency_update_interval=limit.seconds(
            "concurrency_update_interval", 0.1, positive=True
        ),
        min_rtt_interval=min_rtt.seconds("interval", ADAPTIVE.min_rtt_interval, positive=True),
        min_rtt_request_count=min_rtt.number("request_count", 50, low=1),
        min_rtt_jitter=_percent(min_rtt, "jitter", ADAPTIVE.min_rtt_jitter),
        min_concurrency=min_rtt.number("min_concurrency", 3, low=1),
        min_rtt_buffer=_percent(min_rtt, "buffer", ADAPTIVE.min_rtt_buffer),
        fixed_min_rtt=min_rtt.optional_seconds("fixed_value", positive=True),
        status=decode_status(reader, "concurrency_limit_exceeded_status", ADAPTIVE.status),
    )


def _percent(reader: Reader, field: str, default: float) -> float:
    value = reader.percent(field, default)
    return default if value is None else value


def _encode_admission(config: AdmissionControl) -> Fields:
    success = {
        "http_criteria": {"http_success_status": encode_statuses(config.success_statuses)},
        "grpc_criteria": {"grpc_success_status": config.success_grpc_statuses},
    }
    threshold = config.success_rate_threshold
    most = config.max_rejection_probability
    prefix = "admission_control."
    return {
        "enabled": runtime.encode_flag(value=config.enabled, field=f"{prefix}enabled"),
        "success_criteria": success,
        "sampling_window": duration(config.sampling_window),
        "aggression": runtime.encode_double(config.aggression, f"{prefix}aggression"),
        "sr_threshold": runtime.encode_percent(threshold, f"{prefix}sr_threshold"),
        "rps_threshold": runtime.encode_number(config.rps_threshold, f"{prefix}rps_threshold"),
        "max_rejection_probability": runtime.encode_percent(
            most, f"{prefix}max_rejection_probability"
        ),
    }


def _decode_admission(reader: Reader) -> AdmissionControl:
    if not reader.has("success_criteria"):
        reader.problem("must be set", "success_criteria")
    success = reader.child("success_criteria")
    return AdmissionControl(
        enabled=runtime.decode_flag(reader, "enabled"),
        success_statuses=_decode_http_success(success),
        success_grpc_statuses=_decode_grpc_success(success),
        sampling_window=reader.seconds("sampling_window", 30.0, positive=True),
        aggression=runtime.decode_double(reader, "aggression", 1.0),
        success_rate_threshold=runtime.decode_percent(reader, "sr_threshold", 95.0),
        rps_threshold=runtime.decode_number(reader, "rps_threshold"),
        max_rejection_probability=runtime.decode_percent(reader, "max_rejection_probability", 80.0),
    )


def _decode_http_success(success: Reader) -> Ranges:
    criteria = success.optional_child("http_criteria")
    if criteria is None:
        return ADMISSION.success_statuses
    found = decode_statuses(criteria, "http_success_status")
    if not found:
        criteria.problem("must not be empty", "http_success_status")
    return found


def _decode_grpc_success(success: Reader) -> tuple[int, ...]:
    criteria = success.optional_child("grpc_criteria")
    if criteria is None:
        return ADMISSION.success_grpc_statuses
    codes = criteria.numbers("grpc_success_status")
    if not codes or max(codes) > MAX_GRPC_STATUS:
        criteria.problem("must be gRPC statuses, at least one", "grpc_success_status")
    return codes


ADAPTIVE_CONCURRENCY = FilterCodec(
    "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
    _encode_adaptive,
    _decode_adaptive,
)
ADMISSION_CONTROL = FilterCodec(
    "envoy.extensions.filters.http.admission_control.v3.AdmissionControl",
    _encode_admission,
    _decode_admission,
)
