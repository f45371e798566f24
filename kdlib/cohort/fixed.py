"""When a population's protocol was fixed, and whether it still says what it said then."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kdlib.cohort.listing import PROTOCOL
from kdlib.errors import choose

FIXED = Path(__file__).parent / "fixed.toml"


@dataclass(frozen=True)
class Fixed:
    """commit: that fixed the protocol. at: its time. content: SHA-256 of the population's table at that commit."""

    commit: str
    at: datetime
    content: str

    def before(self, date: str) -> bool:
        """Whether the protocol was fixed before a moment, given as runs have it.

        >>> fixed = Fixed("4a958bc", datetime(2026, 11, 28, 4, tzinfo=UTC), "")
        >>> fixed.before("2026-11-28T04:00:01Z"), fixed.before("2026-11-28T03:59:59Z")
        (True, False)
        """
        moment = datetime.fromisoformat(date)
        return self.at < (moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def read_fixed(data: str, path: Path = FIXED) -> Fixed:
    """Where the protocol of a population was fixed; KdlibError for a population without a row.

    >>> len(read_fixed("concept_world").commit)
    40
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return Fixed(**table[choose(data, table, "population with a fixed protocol")])


def content_hash(data: str, protocol: Path = PROTOCOL) -> str:
    """SHA-256 of a population's table in the protocol: of what it says, not of how it is written down.

    >>> content_hash("concept_world") == read_fixed("concept_world").content
    True
    """
    table = tomllib.loads(protocol.read_text(encoding="utf-8"))
    own = table[choose(data, [name for name in table if isinstance(table[name], dict)], "data set of the cohort")]
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
