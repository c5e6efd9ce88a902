"""Decides who may write to whom: first contacts, budgets, who declined, blocked or limits its reach.

Over loaded rows, as everything here. What is found out about a pair never depends on a block: a
blocked send is decided, counted and answered as if there were none, and only its rows go nowhere.
Spec: 08-meeting; rules F1, C1.
"""

from collections.abc import Collection, Iterable, Sequence

import msgspec

from miss_protocol import frames as f
from miss_protocol import limits
from miss_protocol.errors import Code
from miss_server.storage.settlement.refusal import Refusal

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS

Pair = tuple[str, str]
"""(owner, peer)."""
Row = tuple[str, str, int | None, int, int | None, int | None, int | None]
"""owner, peer, first_ms, unanswered, accepted_ms, declined_ms, blocked_ms."""


class FirstContacts(msgspec.Struct, frozen=True):
    """What an operator sets for everybody: messages before an answer, and how many new people an
    account may write to in an hour and in a day; and `by_role`, for whom it may be more: by the code of a
    profession, or `ADMINISTRATOR`."""

    messages: int = limits.FIRST_MESSAGES
    per_hour: int = limits.NEW_RECIPIENTS_PER_HOUR
    per_day: int = limits.NEW_RECIPIENTS_PER_DAY
    by_role: dict[str, tuple[int, int]] = {}

    def of(self, roles: Iterable[str]) -> tuple[int, int]:
        """The budget of who has these roles: the highest of theirs and everybody's."""
        theirs = [self.by_role[role] for role in roles if role in self.by_role]
        hours, days = zip((self.per_hour, self.per_day), *theirs, strict=True)
        return max(hours), max(days)


ADMINISTRATOR = "administrator"
"""The role of who acts for an organisation (spec 11 §6)."""


class Reach(msgspec.Struct, frozen=True):
    """Who may write to an account first."""

    reached_by: str
    professions: frozenset[str]
    establishments: frozenset[str]


class Traits(msgspec.Struct, frozen=True):
    """What the directory says of a sender, by which others let it reach them."""

    professions: frozenset[str] = frozenset()
    establishments: frozenset[str] = frozenset()


class _Relation(msgspec.Struct, gc=False):
    first_ms: int | None = None
    unanswered: int = 0
    accepted_ms: int | None = None
    declined_ms: int | None = None
    blocked_ms: int | None = None
    changed: bool = False

    @property
    def answers(self) -> bool:
        """Whether its owner wrote to the peer, or accepted it."""
        return self.first_ms is not None or self.accepted_ms is not None


class Passage(msgspec.Struct, gc=False):
    """A send that may go: to whom for the first time, and who takes nothing of it."""

    peers: Sequence[str] = ()
    new: Sequence[str] = ()
    silent: Collection[str] = ()


class Meeting:
    """One batch. `want`, load what is not settled of `pairs` (`SETTLED` in `sql.meeting_words`), `see`; if
    there are then `writers`, lock them, load their rows anew and what else `see_again` takes; then `judge`
    and `note` each send."""

    def __init__(self, allowed: FirstContacts) -> None:
        self._allowed = allowed
        self._off = False
        self._unsettled: set[Pair] = set()
        self._relations: dict[Pair, _Relation] = {}
        self._budgets: dict[str, tuple[int, int]] = {}
        self._restricted: set[str] = set()
        self._spent: dict[str, list[int]] = {}
        self._reach: dict[str, Reach] = {}
        self._traits: dict[str, Traits] = {}
        self._administrators: frozenset[str] = frozenset()
        self.by_role = bool(allowed.by_role)
        """Whether budgets depend on what the writers are: their traits are asked for, and which of them act for
        an organisation."""
        self.pairs: list[Pair] = []
        """Each sender with each account that it writes to."""
        self.writers: list[str] = []
        """Accounts whose own rows may change, or whose budget counts: to be locked."""
        self.again: list[Pair] = []
        """Rows to be read anew under the locks of the writers, those there are: both ways between
        each of them and whom they write to."""
        self.strangers: list[str] = []
        """Accounts that a writer writes to who has no answer from them: their reach counts."""

    def turn_off(self) -> None:
        """Let everything pass and keep nothing: the database has no tables for it yet."""
        self._off = True
        self.pairs = []

    # --- loading ----------------------------------------------------------------------------------

    def want(self, sends: Iterable[tuple[str, f.Send]]) -> None:
        """Take (sender's account, send) of the batch; afterwards `pairs` is known."""
        pairs: set[Pair] = set()
        for own, send in sends:
            for used in send.rosters:
                if used.account != own:
                    pairs.add((own, used.account))
        self.pairs = sorted(pairs)

    def see(self, unsettled: Iterable[tuple[Pair, Row | None, Row | None]]) -> None:
        """Take those of `pairs` that are not settled, each with the row of either, if there is one;
        afterwards `writers`, `again` and `strangers` are known.

        Which those are depends on no block, or the time of an answer would tell of it.
        """
        writers, strangers = set[str](), set[str]()
        for pair, *rows in unsettled:
            self._unsettled.add(pair)
            self._take(row for row in rows if row is not None)
            own, peer = pair
            mine, theirs = self._of(own, peer), self._of(peer, own)
            if not theirs.answers:
                strangers.add(peer)
            met = mine.first_ms is not None and theirs.answers
            if not met or mine.unanswered or mine.declined_ms is not None:
                writers.add(own)
        self.writers, self.strangers = sorted(writers), sorted(strangers)
        touched = (pair for pair in self._unsettled if not writers.isdisjoint(pair))
        self.again = sorted({both for own, peer in touched for both in ((own, peer), (peer, own))})

    def see_again(
        self,
        rows: Iterable[Row],
        budgets: Iterable[tuple[str, int, int]],
        spent: Iterable[tuple[str, int]],
        reach: Iterable[tuple[str, Reach]],
        traits: Iterable[tuple[str, Traits]],
        administrators: Iterable[str] = (),
    ) -> None:
        """Take what was read after the `writers` were locked.

        Args:
            rows: those of `again`.
            budgets: (account, per_hour, per_day) of the writers that have their own; with -1 once
                more for who is restricted (spec 09 §2).
            spent: (account, first_ms) of the writers' first contacts of the last day that the peer
                has not answered.
            reach: the rules of `strangers` that have some.
            traits: the writers', if a rule asks for them, or `by_role`.
            administrators: those of the writers who are, if `by_role`.
        """
        for pair in self.again:
            self._relations.pop(pair, None)
        self._take(rows)
        self._budgets, self._restricted = {}, set()
        for account, hour, day in budgets:
            if hour < 0:
                self._restricted.add(account)
            else:
                self._budgets[account] = (hour, day)
        for account, first_ms in spent:
            self._spent.setdefault(account, []).append(first_ms)
        for times in self._spent.values():
            times.sort()
        self._reach = dict(reach)
        self._traits = dict(traits)
        self._administrators = frozenset(administrators)

    def _take(self, rows: Iterable[Row]) -> None:
        for owner, peer, first, unanswered, accepted, declined, blocked in rows:
            self._relations[owner, peer] = _Relation(first, unanswered, accepted, declined, blocked)

    def _of(self, owner: str, peer: str) -> _Relation:
        relation = self._relations.get((owner, peer))
        if relation is None:
            relation = self._relations[owner, peer] = _Relation()
        return relation

    # --- deciding ---------------------------------------------------------------------------------

    def judge(self, own: str, names: Iterable[str], kind: f.Kind, now_ms: int) -> Passage:
        """Whether a send may go to all of these accounts; nothing is changed yet.

        Raises:
            Refusal: restricted, not_reachable, declined, unanswered, budget_spent with the time after which
                there is room, too_many_recipients for more new ones than any budget has.
        """
        if self._off:
            return Passage()
        peers = [name for name in names if (own, name) in self._unsettled]
        if not peers:
            return Passage()
        hidden, declined, unanswered = list[str](), list[str](), list[str]()
        barred = list[str]()
        new, silent = list[str](), set[str]()
        for peer in peers:
            mine, theirs = self._of(own, peer), self._of(peer, own)
            if theirs.declined_ms is not None:
                declined.append(peer)
            elif kind == "control":
                # It answers those who wrote, and is no way round: it may say anything, and is not counted.
                if not theirs.answers:
                    unanswered.append(peer)
            elif not theirs.answers:
                if own in self._restricted:
                    barred.append(peer)
                elif not self._may_reach(own, peer):
                    hidden.append(peer)
                elif mine.unanswered >= self._allowed.messages:
                    unanswered.append(peer)
                elif mine.first_ms is None:
                    new.append(peer)
            if theirs.blocked_ms is not None:
                silent.add(peer)
        for code, accounts in (
            (Code.RESTRICTED, barred),
            (Code.NOT_REACHABLE, hidden),
            (Code.DECLINED, declined),
            (Code.UNANSWERED, unanswered),
        ):
            if accounts:
                raise Refusal(code, sorted(accounts))
        if new:
            self._check_budget(own, sorted(new), now_ms)
        return Passage(peers, new, silent)

    def _may_reach(self, own: str, peer: str) -> bool:
        rule = self._reach.get(peer)
        if rule is None or rule.reached_by == "anyone":
            return True
        if rule.reached_by != "listed":
            return False
        traits = self._traits.get(own, Traits())
        return not (
            rule.professions.isdisjoint(traits.professions)
            and rule.establishments.isdisjoint(traits.establishments)
        )

    def _check_budget(self, own: str, new: list[str], now_ms: int) -> None:
        per_hour, per_day = self._budgets.get(own) or self._allowed.of(self._roles(own))
        if len(new) > min(per_hour, per_day):
            raise Refusal(Code.TOO_MANY_RECIPIENTS, new)
        times = self._spent.get(own, [])
        wait = 0
        for budget, period in ((per_hour, HOUR_MS), (per_day, DAY_MS)):
            recent = [at for at in times if at > now_ms - period]
            over = len(recent) + len(new) - budget
            if over > 0:
                wait = max(wait, recent[over - 1] + period - now_ms)
        if wait:
            raise Refusal(Code.BUDGET_SPENT, new, min(wait / 1000, limits.RETRY_AFTER_MAX))

    def _roles(self, own: str) -> frozenset[str]:
        professions = self._traits.get(own, Traits()).professions
        return professions | {ADMINISTRATOR} if own in self._administrators else professions

    def note(self, own: str, passage: Passage, kind: f.Kind, now_ms: int) -> None:
        """Take down a send that was accepted: it may answer, and it may be a first contact."""
        if kind == "control":
            return
        for peer in passage.peers:
            mine = self._of(own, peer)
            before = mine.first_ms, mine.unanswered, mine.declined_ms
            if mine.first_ms is None:
                mine.first_ms = now_ms
            answered = self._of(peer, own).answers
            mine.unanswered = 0 if answered else mine.unanswered + 1
            mine.declined_ms = None  # who writes wants an answer
            if before != (mine.first_ms, mine.unanswered, mine.declined_ms):
                mine.changed = True
        if passage.new:
            self._spent.setdefault(own, []).extend(now_ms for _ in passage.new)

    @property
    def relations(self) -> list[Row]:
        """The rows that changed or are new, sorted."""
        return sorted(
            (*pair, one.first_ms, one.unanswered, one.accepted_ms, one.declined_ms, one.blocked_ms)
            for pair, one in self._relations.items()
            if one.changed
        )
