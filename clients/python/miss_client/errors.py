"""What can go wrong on this side, each with a code, a text and what to do next.

The protocol's own refusals (`miss_protocol.errors.Refused`) pass through as they are; what the
server told without a code that we know becomes a `ServerError`.
"""

from enum import Enum
from typing import NamedTuple

from miss_protocol.errors import Code, MissError, Refused, Unproven


class _Text(NamedTuple):
    wire: str
    en: str
    fr: str


class Trouble(Enum):
    """A failure that is decided on this side."""

    value: _Text

    STORE_MISSING = _Text(
        "store_missing",
        "There is no account here yet. Enrol this device: miss enrol CODE --server URL.",
        "Aucun compte ici. Inscrivez cet appareil : miss enrol CODE --server URL.",
    )
    STORE_EXISTS = _Text(
        "store_exists",
        "This store already holds a device. Choose another with --store PATH.",
        "Ce fichier contient déjà un appareil. Choisissez-en un autre avec --store CHEMIN.",
    )
    STORE_LOCKED = _Text(
        "store_locked",
        "Another program is using this store. Close it, then try again.",
        "Un autre programme utilise ce fichier. Fermez-le, puis réessayez.",
    )
    STORE_KEY = _Text(
        "store_key",
        "The store cannot be opened with this passphrase or key file.",
        "Cette phrase de passe ou ce fichier de clé n'ouvre pas le fichier.",
    )
    STORE_CORRUPT = _Text(
        "store_corrupt",
        "The store is damaged. Do not restore an older copy: remove this device from the account "
        "with another of your devices, and enrol it again.",
        "Le fichier est endommagé. Ne restaurez pas d'ancienne copie : retirez cet appareil du "
        "compte depuis un autre de vos appareils, puis inscrivez-le à nouveau.",
    )
    STORE_NEWER = _Text(
        "store_newer",
        "The store was written by a newer version. Update this application.",
        "Le fichier vient d'une version plus récente. Mettez cette application à jour.",
    )
    STORE_FAILED = _Text(
        "store_failed",
        "The store could not be written. Free some disk space; nothing was sent meanwhile.",
        "L'écriture a échoué. Libérez de la place sur le disque ; rien n'a été envoyé entre-temps.",
    )
    ROLLED_BACK = _Text(
        "rolled_back",
        "This device's state is older than what it had sent: a copy was restored. Its keys must "
        "not be used again. Enrol this device anew.",
        "L'état de cet appareil est plus ancien que ses envois : une copie a été restaurée. Ses "
        "clés ne doivent plus servir. Inscrivez à nouveau cet appareil.",
    )
    DEVICE_OVER = _Text(
        "device_over",
        "This device was removed from its account. Enrol it anew with a new store.",
        "Cet appareil a été retiré de son compte. Inscrivez-le à nouveau avec un nouveau fichier.",
    )
    NOT_ADMITTED = _Text(
        "not_admitted",
        "The server does not let this device in. Ask your operator.",
        "Le serveur n'admet pas cet appareil. Contactez votre opérateur.",
    )
    REPLACED = _Text(
        "replaced",
        "This device connected a second time elsewhere; the newer connection goes on.",
        "Cet appareil s'est connecté une seconde fois ailleurs ; cette connexion-là continue.",
    )
    CONNECTED = _Text(
        "connected",
        "This client stays connected already; nothing needs to be fetched.",
        "Ce client est déjà connecté ; il n'y a rien à relever.",
    )
    NOT_READY = _Text(
        "not_ready",
        "This device has not finished joining its account. Run the same command again.",
        "L'ajout de cet appareil n'est pas terminé. Relancez la même commande.",
    )
    CHARTER_DECLINED = _Text(
        "charter_declined",
        "The charter was not accepted, so nothing was enrolled. The code can still be used.",
        "La charte n'a pas été acceptée : rien n'a été inscrit. Le code reste utilisable.",
    )
    IDENTITY_CHANGED = _Text(
        "identity_changed",
        "This person's identity is not the one known here. Call them; if they enrolled anew, "
        "accept it with: miss contacts accept ADDRESS.",
        "L'identité de cette personne n'est plus celle connue ici. Appelez-la ; si elle s'est "
        "réinscrite, acceptez-la avec : miss contacts accept ADRESSE.",
    )
    PROVIDER_UNTRUSTED = _Text(
        "provider_untrusted",
        "This server names an identity provider that this application does not know. If your operator "
        "told you of it, set MISS_PROVIDERS to its discovery address.",
        "Ce serveur nomme un fournisseur d'identité que cette application ne connaît pas. Si votre "
        "opérateur vous l'a indiqué, mettez son adresse de découverte dans MISS_PROVIDERS.",
    )
    UNREACHABLE = _Text(
        "unreachable",
        "The server cannot be reached. Check the network; what you wrote is kept and will leave.",
        "Serveur injoignable. Vérifiez le réseau ; ce que vous avez écrit est gardé et partira.",
    )
    INSECURE_SERVER = _Text(
        "insecure_server",
        "This server is reached without encryption. Use its https:// address.",
        "Ce serveur est joint sans chiffrement. Utilisez son adresse https://.",
    )
    NO_PREKEYS = _Text(
        "no_prekeys",
        "A device of the recipient cannot be written to for now: it left no keys.",
        "Un appareil du destinataire ne peut pas recevoir pour l'instant : aucune clé déposée.",
    )
    NO_MATCH = _Text(
        "no_match",
        "No device with this code asks to join. Compare the code on its screen.",
        "Aucun appareil avec ce code ne demande à rejoindre le compte. Comparez avec son écran.",
    )
    NO_MESSAGE = _Text(
        "no_message", "There is no such message here.", "Il n'y a pas de tel message ici."
    )
    NOT_REPORTABLE = _Text(
        "not_reportable",
        "This message cannot be reported from here: it is your own, or it came before this application "
        "kept what a report shows.",
        "Ce message ne peut pas être signalé d'ici : il est de vous, ou il est arrivé avant que cette "
        "application ne garde ce qu'un signalement montre.",
    )
    SERVER = _Text(
        "server_error",
        "The server does not keep to the protocol. Tell your operator.",
        "Le serveur ne respecte pas le protocole. Prévenez votre opérateur.",
    )

    def text(self, language: str) -> str:
        """A sentence for people, with what to do next."""
        return self.value.fr if language == "fr" else self.value.en


class ClientError(MissError):
    """A failure on this side. `trouble` has the texts; `str()` is for logs."""

    def __init__(self, trouble: Trouble, detail: str = "") -> None:
        super().__init__(f"{trouble.value.wire}: {detail}" if detail else trouble.value.wire)
        self.trouble = trouble

    @property
    def code(self) -> str:
        """The written form of the code."""
        return self.trouble.value.wire


class Unreachable(ClientError):
    """The network or the server is away. Nothing is decided: try again later."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(Trouble.UNREACHABLE, detail)


class ServerError(ClientError):
    """The server answered with something that is not in the protocol, or an unknown code."""

    def __init__(self, detail: str = "", *, texts: dict[str, str] | None = None) -> None:
        super().__init__(Trouble.SERVER, detail)
        self.texts = texts or {}


class RefusedByServer(Refused):
    """The server refused an HTTP call; `accounts` names whose rosters are the cause, if any."""

    def __init__(
        self,
        code: Code,
        *,
        retry_after: float | None = None,
        accounts: tuple[str, ...] = (),
        reason: str = "",
    ) -> None:
        super().__init__(code, retry_after=retry_after, reason=reason)
        self.accounts = accounts


def explain(error: MissError, language: str) -> str:
    """What to tell a person about an error, in their language, with the reason of a decision."""
    reason = "".join(letter for letter in getattr(error, "reason", "") if letter.isprintable())
    told = _explained(error, language)
    if not reason or isinstance(error, Unproven):
        return told
    return f"{told} Motif : {reason}" if language == "fr" else f"{told} Reason: {reason}"


def _explained(error: MissError, language: str) -> str:
    if isinstance(error, ServerError) and language in error.texts:
        return error.texts[language]
    refusal = getattr(error, "refusal", None)
    if isinstance(refusal, Code):
        return refusal.text(language)
    if isinstance(error, ClientError):
        return error.trouble.text(language)
    if isinstance(error, Refused):
        return error.code.text(language)
    code = getattr(error, "code", Code.INTERNAL)
    return code.text(language) if isinstance(code, Code) else Trouble.SERVER.text(language)
