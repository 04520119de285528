"""``retries`` of a rule, or what holds where it says nothing → Envoy's policy."""

from ... import model
from ..manifests.http_policies import HTTPRetry
from ..manifests.retry_on import conditions_and_statuses

DEFAULT_RETRY_ON = ("connect-failure", "refused-stream")
"""Istio's list is longer; nothing that may have been worked on is retried unasked."""

ASKED_RETRY_ON = (*DEFAULT_RETRY_ON, "unavailable", "cancelled")
"""Istio's list, for those who ask for retries and do not say on what."""

UNASKED = HTTPRetry(attempts=2, retry_on=",".join(DEFAULT_RETRY_ON))

RESELECTS = 5
REMOTE_UPDATE_FREQUENCY = 2  # Istio's: priorities are weighed anew after every second attempt


def retry_policy(
    said: HTTPRetry | None, mesh_default: HTTPRetry | None = None, *, sticky: bool = False
) -> model.RetryPolicy | None:
    """``sticky``: calls keep to a host by hash, so a retry does too unless told otherwise."""
    retries = said or mesh_default or UNASKED
    if not retries.attempts:
        return None
    conditions, statuses = conditions_and_statuses(retries.retry_on)
    back_off = model.RetryBackOff(base_interval=retries.backoff) if retries.backoff else None
    elsewhere = retries.retry_ignore_previous_hosts
    return model.RetryPolicy(
        retry_on=conditions or ASKED_RETRY_ON,
        num_retries=retries.attempts,
        per_try_timeout=retries.per_try_timeout or None,
        retriable_status_codes=statuses,
        retry_back_off=back_off or model.RetryBackOff(),
        previous_hosts=not sticky if elsewhere is None else elsewhere,
        host_selection_retry_max_attempts=RESELECTS,
        previous_priorities=REMOTE_UPDATE_FREQUENCY if retries.retry_remote_localities else None,
    )
