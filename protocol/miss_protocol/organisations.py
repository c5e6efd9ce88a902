"""Establishments' administrators and their people: the bodies of the HTTP calls. Spec: 11-accounts §6."""

from typing import Literal

PersonState = Literal["uninvited", "invited", "enrolled", "ended"]
"""`uninvited`: no code is out that could be used; `invited`: one is; `enrolled`: there is a device;
`ended`: the organisation has nothing to do with them any more."""
