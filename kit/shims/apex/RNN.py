"""``apex.RNN`` is absent: importing it says why, and what to write instead."""

from ._absent import absent

raise absent(__name__)
