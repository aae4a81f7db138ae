"""Event sourcing with dataclasses: events parsed to objects, replayed to accounts, and projected."""
from dataclasses import asdict, dataclass, field, replace
from typing import Dict, List, Optional

import function

SIZES = {"tiny": 150, "small": 2000, "full": 12000}


@dataclass(frozen=True)
class Event:
    """What happened."""

    number: int
    account: str
    kind: str
    cents: int
    note: Optional[str] = None


@dataclass
class Account:
    """What it amounts to."""

    name: str
    balance: int = 0
    open: bool = True
    history: List[Event] = field(default_factory=list)
    by_kind: Dict[str, int] = field(default_factory=dict)


@dataclass(order=True)
class Statement:
    """What is reported."""

    balance: int
    name: str
    events: int
    largest: int


def lines(count):
    """The event log: one line an event."""
    draw = function.source("events").randrange
    kinds = ["deposit", "withdraw", "transfer", "fee", "correct", "close"]
    return ["%d;acct-%04d;%s;%d;%s" % (
        i, draw(1 + count // 12), kinds[min(draw(6), draw(6))], draw(100000), "" if draw(3) else "ref %d" % draw(10 ** 6))
        for i in range(count)]


def parsed(line):
    """The event of a line."""
    number, account, kind, cents, note = line.split(";")
    return Event(int(number), account, kind, int(cents), note or None)


def apply(accounts, event):
    """Replays one event."""
    account = accounts.get(event.account)
    if account is None:
        account = accounts[event.account] = Account(event.account)
    if event.kind == "correct" and account.history:
        last = account.history.pop()
        account.balance -= last.cents
        event = replace(last, cents=event.cents // 2, note="corrected by %d" % event.number)
    elif event.kind in ("withdraw", "fee"):
        event = replace(event, cents=-event.cents)
    account.balance += event.cents
    account.open = event.kind != "close"
    account.history.append(event)
    account.by_kind[event.kind] = account.by_kind.get(event.kind, 0) + event.cents


def handler(event, context):
    """Answers with the checksum of all statements and of the ten richest accounts in full."""
    accounts = {}
    for line in lines(SIZES[event["size"]]):
        apply(accounts, parsed(line))
    statements = sorted(
        Statement(a.balance, a.name, len(a.history), max(abs(e.cents) for e in a.history))
        for a in accounts.values())
    rich = [asdict(accounts[statement.name]) for statement in statements[-10:]]
    return function.answer("\n".join(map(repr, statements + rich)), accounts=len(accounts))


if __name__ == "__main__":
    function.main("event_records", SIZES, handler)
