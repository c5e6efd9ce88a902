"""`miss identity`, and the identity provider's part of `miss enrol`: signing in, in a browser."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from msgspec import UNSET

from miss_client import new_device
from miss_client.cli.common import StoreOption, clean, err, out, show_code, with_client
from miss_client.client import Client
from miss_client.enrolment import Accept
from miss_client.errors import RefusedByServer
from miss_client.sign_in import Method
from miss_client.store import Store, key_file_of
from miss_client.vault import Vault
from miss_client.words import tr
from miss_protocol.errors import Code
from miss_protocol.sign_in import ProofHeld, SignInBegun, SignInStatus

HELP = tr(
    "Show who vouches that this account is yours; prove it anew at the identity provider.\n\n"
    "Examples:\n\nmiss identity\n\nmiss identity --renew",
    "Montrer qui atteste que ce compte est le vôtre ; le prouver à nouveau auprès du fournisseur "
    "d'identité.\n\nExemples :\n\nmiss identity\n\nmiss identity --renew",
)
_OVER = frozenset({Code.SIGN_IN_OVER, Code.SIGN_IN_UNKNOWN, Code.ALREADY_ENROLLED})
"""After these a device that was founded for a sign-in can never be enrolled."""


def identity(
    renew: Annotated[
        bool,
        typer.Option(
            "--renew",
            help=tr("Sign in at the identity provider.", "Se connecter au fournisseur d'identité."),
        ),
    ] = False,
    ciba: Annotated[
        bool,
        typer.Option(
            "--ciba",
            help=tr(
                "Confirm in the provider's own app instead of a browser; the operator vouches then.",
                "Confirmer dans l'application du fournisseur et non dans un navigateur ; c'est alors "
                "l'opérateur qui atteste.",
            ),
        ),
    ] = False,
    store: StoreOption = None,
) -> None:
    """Show or renew what vouches for this account."""

    async def work(client: Client) -> None:
        if renew:
            await client.prove_identity(
                show=show, ask_code=ask_code, method="ciba" if ciba else "code"
            )
        tell(await client.identity())

    with_client(store, work)


def tell(held: ProofHeld) -> None:
    """Say who vouches, and until when."""
    if held.attested == "provider":
        out.print(
            tr("Vouched for by the identity provider", "Attesté par le fournisseur d'identité")
        )
    else:
        out.print(tr("Vouched for by the operator", "Attesté par l'opérateur"))
    if held.proved is not UNSET:
        level = f" ({clean(held.level)})" if held.level else ""
        out.print(tr("proven on ", "prouvé le ") + _day(held.proved) + level)
    if held.renew_by is not UNSET and held.ends is not UNSET:
        mark = "! " if held.due else ""
        out.print(
            mark
            + tr(
                f"to be proven anew by {_day(held.renew_by)}; suspended after {_day(held.ends)}. "
                "Do it with: miss identity --renew",
                f"à prouver à nouveau avant le {_day(held.renew_by)} ; suspendu après le "
                f"{_day(held.ends)}. Faites-le avec : miss identity --renew",
            )
        )


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")


async def enrol(
    server: str,
    store: Store,
    path: Path,
    device: str,
    *,
    accept: Accept | bool,
    ciba_person: str | None,
) -> Client:
    """Enrol by the identity provider; a store that can never be enrolled is taken away again."""
    method: Method = "code" if ciba_person is None else "ciba"
    try:
        return await new_device.enrol_by_provider(
            server,
            store,
            device_name=device,
            accept_charter=accept,
            show=show,
            ask_code=ask_code,
            method=method,
            hint=ciba_person or "",
        )
    except RefusedByServer as refused:
        if refused.code in _OVER and _is_of_sign_in(store):
            store.close()
            for file in (path, key_file_of(path)):
                file.unlink(missing_ok=True)
        raise


def _is_of_sign_in(store: Store) -> bool:
    vault = Vault(store)
    return not vault.is_empty and vault.info.sign_in is not None


def show(begun: SignInBegun) -> None:
    """Say where the user signs in; the address is shown, too: it is the provider's they must see."""
    if not begun.url:
        out.print(
            tr(
                f"Confirm in the provider's app. It must show: {clean(begun.message)}",
                f"Confirmez dans l'application du fournisseur. Elle doit montrer : "
                f"{clean(begun.message)}",
            )
        )
        return
    show_code(begun.url)
    out.print(
        tr(
            f"Open this address in your browser and sign in:\n{clean(begun.url)}\nWaiting…",
            f"Ouvrez cette adresse dans votre navigateur et connectez-vous :\n{clean(begun.url)}\n"
            "En attente…",
        )
    )


async def ask_code(now: SignInStatus) -> str:
    """Ask for the code that the page shows."""
    err.print(tr("Signed in: ", "Connecté : ") + clean(now.name))
    prompt = tr("The code of the page", "Le code de la page")
    return str(await asyncio.to_thread(typer.prompt, prompt, err=True))
