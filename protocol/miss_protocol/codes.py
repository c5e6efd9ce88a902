"""The codes by which the wire tells what went wrong.

Each `Code` has a text for people in English and French and a `Retry` rule: what the receiver of
the code does next. Spec: 06-codes.
"""

from enum import Enum
from typing import NamedTuple

from miss_protocol.retry import Retry


class _Rule(NamedTuple):
    wire: str
    retry: Retry
    status: int
    en: str
    fr: str


class Code(Enum):
    """A refusal's code, as written in frames and problem documents."""

    value: _Rule

    # frames and requests
    MALFORMED = _Rule(
        "malformed",
        Retry.NEVER,
        400,
        "This is not a valid request.",
        "Cette demande n'est pas valide.",
    )
    UNSUPPORTED = _Rule(
        "unsupported",
        Retry.NEVER,
        400,
        "This server does not know this operation.",
        "Ce serveur ne connaît pas cette opération.",
    )
    TOO_LARGE = _Rule(
        "too_large", Retry.NEVER, 413, "This is too large.", "Ce contenu est trop volumineux."
    )
    OUT_OF_PLACE = _Rule(
        "out_of_place",
        Retry.NEVER,
        409,
        "This operation is not possible at this point.",
        "Cette opération n'est pas possible à ce moment.",
    )
    NOT_FOUND = _Rule(
        "not_found", Retry.NEVER, 404, "There is no such thing here.", "Introuvable ici."
    )
    RATE_LIMITED = _Rule(
        "rate_limited",
        Retry.SAME,
        429,
        "Too many requests. Wait a little.",
        "Trop de demandes. Patientez un peu.",
    )
    LIMIT_REACHED = _Rule(
        "limit_reached",
        Retry.NEVER,
        409,
        "This account has reached its limit for that. End something first.",
        "Ce compte a atteint sa limite. Mettez d'abord fin à quelque chose.",
    )
    BUSY = _Rule(
        "busy",
        Retry.SAME,
        503,
        "The server is busy. It will be tried again.",
        "Le serveur est occupé. Un nouvel essai suivra.",
    )
    INTERNAL = _Rule(
        "internal",
        Retry.SAME,
        500,
        "The server made a mistake. It has been recorded.",
        "Le serveur a commis une erreur. Elle a été enregistrée.",
    )
    # login
    AUTH_FAILED = _Rule(
        "auth_failed",
        Retry.NEVER,
        401,
        "This device could not prove who it is.",
        "Cet appareil n'a pas pu prouver son identité.",
    )
    NOT_ALLOWED = _Rule(
        "not_allowed",
        Retry.NEVER,
        403,
        "This account may not do that.",
        "Ce compte ne peut pas faire cela.",
    )
    CLOCK_SKEW = _Rule(
        "clock_skew",
        Retry.NEVER,
        401,
        "This device's clock is wrong. Set its date and time.",
        "L'horloge de cet appareil est fausse. Réglez la date et l'heure.",
    )
    REPLAYED = _Rule(
        "replayed",
        Retry.NEVER,
        401,
        "This signed request was already used.",
        "Cette demande signée a déjà servi.",
    )
    REVOKED = _Rule(
        "revoked",
        Retry.ENROL,
        403,
        "This device was removed from its account.",
        "Cet appareil a été retiré de son compte.",
    )
    UPGRADE_REQUIRED = _Rule(
        "upgrade_required",
        Retry.NEVER,
        426,
        "This application is too old. Update it.",
        "Cette application est trop ancienne. Mettez-la à jour.",
    )
    CHARTER_REQUIRED = _Rule(
        "charter_required",
        Retry.REFRESH,
        403,
        "The charter must be read and signed first.",
        "Il faut d'abord lire et signer la charte.",
    )
    SUSPENDED = _Rule(
        "suspended",
        Retry.NEVER,
        403,
        "This account is suspended. Ask your operator.",
        "Ce compte est suspendu. Contactez votre opérateur.",
    )
    # sending
    OUT_OF_ORDER = _Rule(
        "out_of_order",
        Retry.SAME,
        409,
        "An earlier message must come first. It will be tried again.",
        "Un message antérieur doit passer d'abord. Un nouvel essai suivra.",
    )
    SN_REUSED = _Rule(
        "sn_reused",
        Retry.ENROL,
        409,
        "This message number was used for another message.",
        "Ce numéro d'envoi a servi à un autre message.",
    )
    SN_FORGOTTEN = _Rule(
        "sn_forgotten",
        Retry.NEVER,
        409,
        "This send is too old: its result is no longer kept.",
        "Cet envoi est trop ancien : son résultat n'est plus conservé.",
    )
    NO_RECIPIENTS = _Rule(
        "no_recipients",
        Retry.NEVER,
        400,
        "The message has no recipient.",
        "Le message n'a pas de destinataire.",
    )
    TOO_MANY_RECIPIENTS = _Rule(
        "too_many_recipients",
        Retry.NEVER,
        400,
        "The message has too many recipients.",
        "Le message a trop de destinataires.",
    )
    UNKNOWN_ACCOUNT = _Rule(
        "unknown_account",
        Retry.NEVER,
        404,
        "This recipient is not on MiSS.",
        "Ce destinataire n'est pas sur MiSS.",
    )
    STALE_ROSTER = _Rule(
        "stale_roster",
        Retry.REFRESH,
        409,
        "A recipient's devices have changed. The message is encrypted anew.",
        "Les appareils d'un destinataire ont changé. Le message est rechiffré.",
    )
    NOT_ENCRYPTED = _Rule(
        "not_encrypted",
        Retry.NEVER,
        400,
        "Only encrypted messages are accepted.",
        "Seuls les messages chiffrés sont acceptés.",
    )
    EXPIRED = _Rule(
        "expired",
        Retry.NEVER,
        410,
        "The time to deliver this message is over.",
        "Le délai de remise de ce message est dépassé.",
    )
    DORMANT = _Rule(
        "dormant",
        Retry.NEVER,
        410,
        "The recipient has not been seen for 30 days.",
        "Le destinataire n'a pas été vu depuis 30 jours.",
    )
    NOT_SERVED = _Rule(
        "not_served",
        Retry.NEVER,
        410,
        "This recipient's account is out of service at present; nothing was sent.",
        "Le compte de ce destinataire est hors service actuellement ; rien n'a été envoyé.",
    )
    RESTRICTED = _Rule(
        "restricted",
        Retry.NEVER,
        403,
        "This account is restricted: it may write only to people who have answered it.",
        "Ce compte est restreint : il ne peut écrire qu'aux personnes qui lui ont répondu.",
    )
    MAILBOX_FULL = _Rule(
        "mailbox_full",
        Retry.NEVER,
        507,
        "The recipient's mailbox is full.",
        "La boîte du destinataire est pleine.",
    )
    # meeting people
    UNANSWERED = _Rule(
        "unanswered",
        Retry.ANSWER,
        403,
        "This person has not answered yet. Wait for an answer before you write again.",
        "Cette personne n'a pas encore répondu. Attendez sa réponse avant de lui récrire.",
    )
    DECLINED = _Rule(
        "declined",
        Retry.ANSWER,
        403,
        "This person does not wish to be written to. You can write once it writes to you.",
        "Cette personne ne souhaite pas être contactée. Vous pourrez écrire si elle vous écrit.",
    )
    NOT_REACHABLE = _Rule(
        "not_reachable",
        Retry.ANSWER,
        403,
        "This person takes first messages only from people that it has chosen.",
        "Cette personne ne reçoit de premiers messages que des personnes qu'elle a choisies.",
    )
    BUDGET_SPENT = _Rule(
        "budget_spent",
        Retry.REFRESH,
        403,
        "You have written to many new people in a short time. This message will leave later.",
        "Vous avez écrit à beaucoup de nouvelles personnes. Ce message partira plus tard.",
    )
    NOT_DURABLE = _Rule(
        "not_durable",
        Retry.SAME,
        503,
        "It is not known whether this was stored. It will be tried again.",
        "L'enregistrement n'est pas certain. Un nouvel essai suivra.",
    )
    UNCONFIRMED = _Rule(
        "unconfirmed",
        Retry.REFRESH,
        409,
        "The recipient's devices must be confirmed after a restore of the server.",
        "Les appareils du destinataire doivent être confirmés après une restauration du serveur.",
    )
    # acknowledging
    ACK_BEYOND = _Rule(
        "ack_beyond",
        Retry.NEVER,
        409,
        "A message was acknowledged that had not been delivered.",
        "Un message non remis a été acquitté.",
    )
    ACK_BACKWARDS = _Rule(
        "ack_backwards",
        Retry.NEVER,
        409,
        "Acknowledgements only go forward.",
        "Les acquittements ne vont que vers l'avant.",
    )
    NACK_UNKNOWN = _Rule(
        "nack_unknown",
        Retry.NEVER,
        404,
        "The message that could not be opened is not in this mailbox.",
        "Le message illisible n'est pas dans cette boîte.",
    )
    RECEIPT_UNKNOWN = _Rule(
        "receipt_unknown",
        Retry.NEVER,
        404,
        "The receipt is for a message that this device was not sent.",
        "L'accusé porte sur un message que cet appareil n'a pas reçu.",
    )
    # inviting
    ON_MISS = _Rule(
        "on_miss",
        Retry.NEVER,
        409,
        "This person is on MiSS already: write to them.",
        "Cette personne est déjà sur MiSS : écrivez-lui.",
    )
    NOT_TO_BE_INVITED = _Rule(
        "not_to_be_invited",
        Retry.NEVER,
        409,
        "This person is not invited any more.",
        "Cette personne n'est plus invitée.",
    )
    TOO_MANY_WISHES = _Rule(
        "too_many_wishes",
        Retry.NEVER,
        409,
        "You wait for too many people. Withdraw a wish first.",
        "Vous attendez trop de personnes. Retirez d'abord un souhait.",
    )
    # reports
    NOT_REPORTABLE = _Rule(
        "not_reportable",
        Retry.NEVER,
        403,
        "Only a message that somebody else wrote to this account can be reported.",
        "Seul un message reçu d'une autre personne peut être signalé.",
    )
    REPORT_TOO_OLD = _Rule(
        "report_too_old",
        Retry.NEVER,
        410,
        "This message came too long ago to be reported here.",
        "Ce message a été reçu il y a trop longtemps pour être signalé ici.",
    )
    # identity
    CODE_UNKNOWN = _Rule(
        "code_unknown",
        Retry.NEVER,
        404,
        "This code is not known. Check it, or ask your operator for another.",
        "Ce code est inconnu. Vérifiez-le ou demandez-en un autre à votre opérateur.",
    )
    CODE_USED = _Rule(
        "code_used",
        Retry.NEVER,
        410,
        "This code was already used. Ask your operator for another.",
        "Ce code a déjà servi. Demandez-en un autre à votre opérateur.",
    )
    CODE_EXPIRED = _Rule(
        "code_expired",
        Retry.NEVER,
        410,
        "This code has expired. Ask your operator for another.",
        "Ce code a expiré. Demandez-en un autre à votre opérateur.",
    )
    ALREADY_ENROLLED = _Rule(
        "already_enrolled",
        Retry.NEVER,
        409,
        "This account already has devices: approve this one from one of them.",
        "Ce compte a déjà des appareils : approuvez celui-ci depuis l'un d'eux.",
    )
    RECOVERING = _Rule(
        "recovering",
        Retry.NEVER,
        409,
        "This account is being recovered already. Ask your operator if it is not you.",
        "Une récupération de ce compte est déjà en cours. Si ce n'est pas vous, prévenez votre"
        " opérateur.",
    )
    ROSTER_CONFLICT = _Rule(
        "roster_conflict",
        Retry.REFRESH,
        409,
        "The list of devices changed meanwhile.",
        "La liste des appareils a changé entre-temps.",
    )
    UNTRUSTED = _Rule(
        "untrusted",
        Retry.NEVER,
        400,
        "A signature or a key does not hold.",
        "Une signature ou une clé n'est pas valable.",
    )
    PREKEYS_STALE = _Rule(
        "prekeys_stale",
        Retry.REFRESH,
        409,
        "These prekeys are out of date: new ones must be made.",
        "Ces préclés ne valent plus : il faut en faire de nouvelles.",
    )
    SIGN_IN_UNKNOWN = _Rule(
        "sign_in_unknown",
        Retry.NEVER,
        404,
        "This sign-in is not known. Begin again in the application.",
        "Cette connexion est inconnue. Recommencez dans l'application.",
    )
    SIGN_IN_OVER = _Rule(
        "sign_in_over",
        Retry.NEVER,
        410,
        "This sign-in is over or was already used. Begin again in the application.",
        "Cette connexion est terminée ou a déjà servi. Recommencez dans l'application.",
    )
    SIGN_IN_REFUSED = _Rule(
        "sign_in_refused",
        Retry.NEVER,
        403,
        "The identity provider did not confirm the sign-in. Begin again in the application.",
        "Le fournisseur d'identité n'a pas confirmé la connexion. Recommencez dans l'application.",
    )
    CONFIRMATION_WRONG = _Rule(
        "confirmation_wrong",
        Retry.NEVER,
        403,
        "This is not the code that the page showed after the sign-in.",
        "Ce n'est pas le code que la page a montré après la connexion.",
    )
    PROVIDER_UNREACHABLE = _Rule(
        "provider_unreachable",
        Retry.SAME,
        503,
        "The identity provider does not answer. Try again in a few minutes.",
        "Le fournisseur d'identité ne répond pas. Réessayez dans quelques minutes.",
    )
    IDENTITY_UNPROVEN = _Rule(
        "identity_unproven",
        Retry.NEVER,
        403,
        "What the identity provider sent does not prove who you are. Tell your operator.",
        "La réponse du fournisseur d'identité ne prouve pas qui vous êtes. Prévenez votre opérateur.",
    )
    NOT_IN_DIRECTORY = _Rule(
        "not_in_directory",
        Retry.NEVER,
        404,
        "The directory does not have you. Ask your operator.",
        "L'annuaire ne vous connaît pas. Contactez votre opérateur.",
    )
    ANOTHER_PERSON = _Rule(
        "another_person",
        Retry.NEVER,
        409,
        "Somebody else signed in than the person of this account.",
        "Une autre personne que celle de ce compte s'est connectée.",
    )

    @property
    def wire(self) -> str:
        """The code as frames and problem documents write it."""
        return self.value.wire

    @property
    def retry(self) -> Retry:
        """What the receiver does next."""
        return self.value.retry

    @property
    def status(self) -> int:
        """The HTTP status of a problem document with this code."""
        return self.value.status

    def text(self, language: str) -> str:
        """A sentence for people, in `fr` or (any other value) English."""
        return self.value.fr if language == "fr" else self.value.en


_BY_WIRE = {code.wire: code for code in Code}


def code_of(wire: str) -> Code | None:
    """Find a code by its written form; `None` for one that a newer peer may know."""
    return _BY_WIRE.get(wire)
