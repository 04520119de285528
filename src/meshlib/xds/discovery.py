"""The whole client without its wire: the conversation, the cache and the join, in step."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..clock import Dice
from .ads import Action, Ads, Event, OpenStream, Report, SendRequest, SubscriptionChanged
from .backoff import Reconnects
from .names import canonical
from .resolver import Resolver, Update
from .responses import Decode
from .types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from .watches import Entry, Watches

TYPES = (LISTENER, ROUTE, CLUSTER, ENDPOINT)
FAIL_ON_DATA_ERRORS = "fail_on_data_errors"
TIMER_IS_TRANSIENT = "resource_timer_is_transient_error"

Effect = OpenStream | SendRequest | Report | Update


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStatus:
    """``error`` is the text of the last NACK, until a version was accepted again."""

    type_url: str
    version: str
    nonce: str
    error: str
    resources: tuple[Entry, ...]


class Discovery:
    """Events in, effects out: each batch of news makes one update at most."""

    def __init__(self, decode: Decode, *, dice: Dice, server_features: Iterable[str] = ()) -> None:
        features = frozenset(server_features)
        transient = TIMER_IS_TRANSIENT in features
        self.watches = Watches(
            fail_on_data_errors=FAIL_ON_DATA_ERRORS in features, timer_is_transient=transient
        )
        self.ads = Ads(
            self.watches,
            decode,
            types=TYPES,
            reconnects=Reconnects(dice),
            does_not_exist_timeout=30.0 if transient else 15.0,
        )
        self._resolver = Resolver(self.watches)

    def watch(self, listeners: Iterable[str], now: float) -> tuple[Effect, ...]:
        for name in listeners:
            self._resolver.watch(canonical(name))
        return self._settle((), now)

    def handle(self, event: Event, now: float) -> tuple[Effect, ...]:
        return self._settle(self.ads.handle(event, now), now)

    def tick(self, now: float) -> tuple[Effect, ...]:
        return self._settle(self.ads.tick(now), now)

    def deadline(self) -> float | None:
        return self.ads.deadline()

    @property
    def version(self) -> str:
        """``lds v3, rds v3, cds v3, eds v7``; just ``v3`` where all are of one version."""
        versions = {label: self.ads.types[url].version for label, url in _LABELS}
        known = {label: version for label, version in versions.items() if version}
        if len(set(known.values())) == 1:
            return next(iter(known.values()))
        return ", ".join(f"{label} {version}" for label, version in known.items())

    def status(self) -> tuple[TypeStatus, ...]:
        entries = self.watches.entries()
        return tuple(
            TypeStatus(
                type_url=url,
                version=state.version,
                nonce=state.nonce,
                error=state.error,
                resources=tuple(entry for entry in entries if entry.type_url == url),
            )
            for url, state in self.ads.types.items()
        )

    def _settle(self, actions: tuple[Action, ...], now: float) -> tuple[Effect, ...]:
        effects = _effects(actions)
        while changes := self._resolver.resolve():
            effects += self._apply(changes, now)
        update = self._resolver.update(self.version)
        return tuple(effects) if update is None else (*effects, update)

    def _apply(self, changes: Iterable[SubscriptionChanged], now: float) -> list[Effect]:
        return [e for change in changes for e in _effects(self.ads.handle(change, now))]


_LABELS = (("lds", LISTENER), ("rds", ROUTE), ("cds", CLUSTER), ("eds", ENDPOINT))


def _effects(actions: Iterable[Action]) -> list[Effect]:
    """Notices end here: the resolver reads what they tell from the cache."""
    return [a for a in actions if isinstance(a, OpenStream | SendRequest | Report)]
