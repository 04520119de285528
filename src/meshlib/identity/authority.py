"""The CA of a trust domain: makes and follows up its roots, signs leaves, says who is revoked.

Who may have a certificate is not decided here: the id is an argument, and its caller has
authenticated whom it belongs to.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock

import msgspec

from .certificates import ends, make_leaf, pem, roots_of, starts
from .credentials import Bundle, Credentials, IdentityError, Svid
from .journal import NAME, Journal, new_name, revocable
from .keys import PublicKey, new_key, private_pem
from .ledger import Ledger
from .slot_files import SlotFiles
from .slots import (
    BACKDATE,
    DEFAULT_TTL,
    LONGEST_TTL,
    Activate,
    Prepare,
    Prune,
    Schedule,
    Slot,
    Stage,
    Step,
    activated,
    due,
    find,
    next_moment,
)
from .spiffe import SpiffeId, TrustDomain
from .store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate chain in PEM, the leaf first, without the root; times on the wall clock."""

    certificate_chain: bytes
    not_before: float
    not_after: float
    serial: int


@dataclass(frozen=True, slots=True)
class Revoked:
    """What is revoked now, or was until now. ``owner``: the id of a serial, "" where it is not
    known; ``more`` serials of its line."""

    name: str
    owner: str = ""
    more: tuple[str, ...] = ()


class Authority:
    """Safe from any thread, and beside other programs on the same store.

    Every ``now`` is a moment of the wall clock. :meth:`advance` is to be called every few
    seconds while it serves; :meth:`refresh` is enough to hear of what others did.
    """

    def __init__(self, store: Store) -> None:
        """Open what :meth:`create` made."""
        self._store = store
        self._lock = RLock()
        self._files = SlotFiles(store)
        self._ledger = Ledger(store)
        self._seen: object = None
        self._journal = self._read()

    @classmethod
    def create(
        cls,
        store: Store,
        trust_domain: TrustDomain,
        now: float,
        schedule: Schedule | None = None,
    ) -> "Authority":
        with store.locked():
            if Journal.read(store) is not None:
                raise IdentityError("there is a CA already; it is not overwritten")
            Journal(trust_domain=str(trust_domain), schedule=schedule or Schedule()).write(store)
            authority = cls(store)
            authority.advance(now)
            return authority

    @property
    def trust_domain(self) -> TrustDomain:
        return TrustDomain(self._journal.trust_domain)

    @property
    def schedule(self) -> Schedule:
        return self._journal.schedule

    @property
    def slots(self) -> tuple[Slot, ...]:
        return self._journal.slots

    @property
    def revoked(self) -> frozenset[str]:
        """Serials and SPIFFE ids, as :class:`Credentials` wants them."""
        return frozenset(self._journal.revoked)

    def bundle(self) -> Bundle:
        """The roots in use and the next one; changed exactly where ``sequence`` is."""
        with self._lock:
            journal = self._journal
            roots = tuple([pem(self._files.root(slot)) for slot in journal.slots])
        return Bundle(trust_domain=journal.trust_domain, roots=roots, sequence=journal.sequence)

    def federated(self) -> tuple[Bundle, ...]:
        """Of other trust domains; one without roots is believed no more."""
        return tuple(
            Bundle(
                trust_domain=domain,
                roots=tuple(root.encode() for root in one.roots),
                sequence=one.sequence,
            )
            for domain, one in sorted(self._journal.federated.items())
        )

    def federate(self, domain: TrustDomain, bundle: bytes) -> Bundle:
        """Believe those of another trust domain by these roots, and no others, from now on.

        An empty bundle: nobody. Raises :class:`IdentityError` for what is no bundle of roots.
        """
        if domain == self.trust_domain:
            raise IdentityError(f"{domain} is the trust domain of this CA itself")
        roots = tuple(root.decode("ascii") for root in roots_of(bundle))
        with self._writing():
            self._write(self._journal.with_federated(str(domain), roots))
        return next(one for one in self.federated() if one.trust_domain == str(domain))

    def credentials(self, svid: Svid | None = None) -> Credentials:
        """What a member of this trust domain goes by."""
        bundle = self.bundle()
        return Credentials(
            svid=svid,
            bundles={bundle.trust_domain: bundle},
            revoked=self.revoked,
            derived_names=True,
        )

    def sign(
        self,
        public_key: PublicKey,
        spiffe_id: SpiffeId,
        now: float,
        ttl: float = DEFAULT_TTL,
        hosts: Sequence[str] = (),
        renewed: str = "",
    ) -> Issued:
        """A leaf for the owner of this key; it ends no later than what signs it.

        ``hosts`` are for those alone who run the CA: whoever asks may not name itself. ``renewed``
        is the serial of the living leaf by which it is asked for.
        """
        self.check_askable(spiffe_id, ttl)
        with self._lock:
            issuer = self._files.issuer(self._active)
        start = max(now - BACKDATE, starts(issuer[0]))
        end = min(now + ttl, ends(issuer[0]))
        if not starts(issuer[0]) <= now < end:
            raise IdentityError("the CA's own certificate is not valid now; is the clock right?")
        leaf = make_leaf(public_key, spiffe_id, issuer, start, end, hosts)
        self._record(f"{leaf.serial_number:x}", spiffe_id, end, now, renewed)
        return Issued(
            certificate_chain=pem(leaf) + pem(issuer[0]),
            not_before=starts(leaf),
            not_after=ends(leaf),
            serial=leaf.serial_number,
        )

    def _record(
        self, serial: str, spiffe_id: SpiffeId, end: float, now: float, renewed: str
    ) -> None:
        """Whoever revokes at this moment has either heard of the new one, or it is not given."""
        with self._writing():
            for name in (renewed, str(spiffe_id)):
                if name in self._journal.revoked:
                    raise IdentityError(f"{name} is revoked")
            self._ledger.record(serial, str(spiffe_id), end, now, renewed)

    def check_askable(self, spiffe_id: SpiffeId, ttl: float = DEFAULT_TTL) -> None:
        """Whether there may be a leaf for it at all; else :class:`IdentityError`."""
        if spiffe_id.trust_domain != self.trust_domain:
            raise IdentityError(f"{spiffe_id} is not in the trust domain {self.trust_domain}")
        if not spiffe_id.path:
            raise IdentityError(f"{spiffe_id} names the trust domain, and nobody in it")
        if str(spiffe_id) in self._journal.revoked:
            raise IdentityError(f"{spiffe_id} is revoked")
        if not 0 < ttl <= LONGEST_TTL:
            raise IdentityError(f"a leaf lives up to {LONGEST_TTL:g} s, not {ttl:g} s")

    def issue(
        self,
        spiffe_id: SpiffeId,
        now: float,
        ttl: float = DEFAULT_TTL,
        hosts: Sequence[str] = (),
        renewed: str = "",
    ) -> Svid:
        """A new key and its leaf, for somebody who cannot make keys."""
        key = new_key()
        issued = self.sign(key.public_key(), spiffe_id, now, ttl, hosts, renewed)
        return Svid(
            spiffe_id=str(spiffe_id),
            certificate_chain=issued.certificate_chain,
            private_key=private_pem(key),
            not_before=issued.not_before,
            not_after=issued.not_after,
            serial=issued.serial,
        )

    def revoke(self, name: str, now: float) -> Revoked:
        """A serial is denied until it is dead, and so is all that was renewed by it; an id until
        :meth:`readmit`, without new leaves."""
        known = revocable(name)
        with self._writing():
            family = self._ledger.of_line(known, now)
            more = tuple(sorted(one.serial for one in family if one.serial != known))
            journal = self._journal
            for one in (known, *more):
                journal = journal.with_revoked(one, now)
            self._write(journal)
            return Revoked(known, self._ledger.owner(known), more)

    def readmit(self, name: str) -> Revoked:
        """A serial is believed again with all of its line, as it was revoked; an id alone."""
        known = revocable(name)
        with self._writing():
            journal = self._journal.without_revoked(known)
            dead_too = self._ledger.of_line(known, 0.0)
            line = {one.serial for one in dead_too if one.serial in journal.revoked}
            for one in line:
                journal = journal.without_revoked(one)
            self._write(journal)
            return Revoked(known, self._ledger.owner(known), tuple(sorted(line)))

    def refresh(self) -> bool:
        """Take in what another program did to the store; whether there was anything."""
        with self._lock:
            if self._store.version(NAME) == self._seen:
                return False
            before, self._journal = self._journal, self._read()
            return self._journal != before

    def advance(self, now: float, acknowledged: float = 1.0) -> bool:
        """Do what the schedule asks for by now; whether the journal changed, here or elsewhere.

        ``acknowledged`` is the part of all members that has taken the newest bundle.
        """
        if now < self.next_moment():
            return self.refresh()
        before = self._journal
        with self._writing():
            while step := due(self._journal.slots, self.schedule, now, acknowledged):
                self._take(step, now)
            if now >= self._files.renewal(self._active):
                self._files.renew(self._active, self.trust_domain, self.schedule, now)
                self._write(self._journal)  # others look at the journal alone
            return self._journal != before

    def next_moment(self) -> float:
        """Until this moment :meth:`advance` has nothing to do by itself."""
        with self._lock:
            moment = next_moment(self._journal.slots, self.schedule)
            if not self._journal.slots:
                return moment
            return min(moment, self._files.renewal(self._active))

    def rotate(self, now: float, *, emergency: bool = False) -> Slot:
        """The next root before its time: prepared now, signed with as soon as all have heard.

        ``emergency`` does not wait, and takes all others out of the bundle at once: what they
        signed is believed no more.
        """
        self.advance(now)
        with self._writing():
            if find(self._journal.slots, Stage.PREPARED) is None:
                self._take(Prepare(), now)
            name = self._force()
            if emergency:
                self._take(Activate(name), now)
                for slot in self._journal.slots:
                    if slot.name != name:
                        self._take(Prune(slot.name), now)
            self.advance(now)
            return next(slot for slot in self.slots if slot.name == name)

    @property
    def _active(self) -> Slot:
        active = find(self._journal.slots, Stage.ACTIVE)
        assert active is not None
        return active

    def _take(self, step: Step, now: float) -> None:
        slots = self._journal.slots
        if isinstance(step, Prepare):
            self._prepare(now)
        elif isinstance(step, Activate):
            chosen = activated(slots, step.name, self.schedule, now)
            self._write(self._journal.with_slots(chosen))
            for slot in slots:
                if slot.stage is Stage.ACTIVE:
                    self._files.retire(slot)
        else:
            left = tuple([slot for slot in slots if slot.name != step.name])
            self._write(self._journal.with_slots(left))
            self._files.remove(step.name)

    def _prepare(self, now: float) -> None:
        name = new_name()
        root = self._files.make(name, self.trust_domain, self.schedule, now)
        slot = Slot(
            name=name,
            stage=Stage.PREPARED,
            prepared_at=now,
            not_before=starts(root),
            not_after=ends(root),
        )
        self._write(self._journal.with_slots((*self._journal.slots, slot)))

    def _force(self) -> str:
        prepared = find(self._journal.slots, Stage.PREPARED)
        assert prepared is not None
        forced = msgspec.structs.replace(prepared, forced=True)
        slots = [forced if slot is prepared else slot for slot in self._journal.slots]
        self._write(self._journal.with_slots(tuple(slots)))
        return prepared.name

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """What others wrote is taken in first, so nobody's change is lost."""
        with self._lock, self._store.locked():
            self.refresh()
            yield

    def _write(self, journal: Journal) -> None:
        journal.write(self._store)
        self._journal = journal
        self._seen = self._store.version(NAME)

    def _read(self) -> Journal:
        self._seen = self._store.version(NAME)  # before it is read: later is news
        journal = Journal.read(self._store)
        if journal is None:
            raise IdentityError("there is no CA here\nNext: meshlib ca init")
        self._files.forget()
        for slot in journal.slots:
            self._files.root(slot)
            if slot.stage is not Stage.OLD:
                self._files.issuer(slot)
        return journal
