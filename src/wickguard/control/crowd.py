"""The crowd: whose names cost nothing, and which of them are one party in the queue.

Names that cost nothing are worth nothing: such callers are one party together, as their group has one cap. Strangers who have
been here before, and well, are another: a flood of new names must not reach them. Decides who gives way first when prices turn
out to be wrong, and how much of the queue one crowd may fill. Pure; it must not know who a caller is.
"""

from __future__ import annotations

from wickguard.control.ladder import Trust

NOBODY = ""
_OF_TRUST = {Trust.ANONYMOUS: "crowd:anonymous", Trust.NEW: "crowd:new"}
_KNOWN = "crowd:known"
# Of what may wait, one crowd may be this much: the rest is out of its reach, however many join it.
CROWD_SHARE = 0.5


def crowd_of(trust: Trust, *, known: bool) -> str:
    """The crowd of a caller; NOBODY's for one who is a party of its own. known: it has a record (control/quota.py)."""
    return _KNOWN if known and trust is Trust.ANONYMOUS else _OF_TRUST.get(trust, NOBODY)


def gives_way(crowd: str) -> bool:
    """Whether callers of this crowd have nothing to show and go last when there is too much."""
    return crowd in _OF_TRUST.values()
