"""The one kind of error for everything a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; the message is one line that names the file or flag and the way out."""
