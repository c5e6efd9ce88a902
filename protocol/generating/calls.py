"""The HTTP calls: what each takes, answers and may be refused with. Spec: 02-wire §5."""

from dataclasses import dataclass, field
from typing import Any

from generating.schemas import DIALECT, Json, schemas
from miss_protocol import (
    account,
    api,
    directory,
    filters,
    invitations,
    limits,
    meeting,
    organisations,
    reports,
    sign_in,
)
from miss_protocol import frames as f
from miss_protocol.errors import Code


@dataclass(frozen=True)
class Operation:
    """One HTTP call. `reply` is a type, or a union of types; `codes` what it may be refused with
    beside what every call may be."""

    method: str
    path: str
    summary: str
    reply: Any
    body: Any = None
    codes: tuple[Code, ...] = ()
    status: int = 200
    signed: bool = True
    query: tuple[tuple[str, Json, str], ...] = field(default=())


WORD: Json = {"type": "string"}
CODES: Json = {
    "type": "array",
    "items": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,16}$"},
    "maxItems": filters.CODES_MAX,
}
_CODES = (Code.CODE_UNKNOWN, Code.CODE_USED, Code.CODE_EXPIRED, Code.RATE_LIMITED)
_SIGN_IN = (Code.SIGN_IN_UNKNOWN, Code.SIGN_IN_OVER, Code.UNSUPPORTED)
_OWN = (Code.NOT_ALLOWED, Code.NOT_FOUND, Code.RATE_LIMITED, Code.BUSY)
_INVITED = (Code.CODE_UNKNOWN, Code.CODE_EXPIRED, Code.RATE_LIMITED)

OPERATIONS = (
    Operation(
        "get",
        "/v1/server",
        "Whose server this is and what it asks for",
        api.ServerInfo,
        signed=False,
    ),
    Operation(
        "post",
        "/v1/enrolment/preview",
        "Whom an enrolment code would enrol",
        api.EnrolmentPreview,
        api.CodeGiven,
        _CODES,
        signed=False,
    ),
    Operation(
        "post",
        "/v1/enrolment",
        "Enrol an account's first device",
        api.Enrolled,
        api.Enrol,
        (*_CODES, Code.ALREADY_ENROLLED, Code.UNTRUSTED, Code.CHARTER_REQUIRED),
        signed=False,
    ),
    Operation(
        "post",
        "/v1/identity/sign-ins",
        "Open a sign-in at the identity provider",
        sign_in.SignInOpened,
        codes=(Code.BUSY, Code.UNSUPPORTED),
        status=201,
        signed=False,
    ),
    Operation(
        "post",
        "/v1/identity/renewals",
        "Open a sign-in by which this account is proven, or proven anew",
        sign_in.SignInOpened,
        codes=(Code.RATE_LIMITED, Code.BUSY, Code.UNSUPPORTED),
        status=201,
    ),
    Operation(
        "post",
        "/v1/identity/sign-ins/begin",
        "Begin it with the account's genesis: where the user signs in",
        sign_in.SignInBegun,
        sign_in.SignInBegin,
        (
            *_SIGN_IN,
            Code.RATE_LIMITED,
            Code.PROVIDER_UNREACHABLE,
            Code.SIGN_IN_REFUSED,
            Code.NOT_IN_DIRECTORY,
        ),
        signed=False,
    ),
    Operation(
        "post",
        "/v1/identity/sign-ins/status",
        "What has become of it",
        sign_in.SignInStatus,
        sign_in.SignInAsked,
        _SIGN_IN,
        signed=False,
    ),
    Operation(
        "post",
        "/v1/identity/sign-ins/confirm",
        "Confirm it and carry it out",
        sign_in.SignedIn,
        sign_in.SignInConfirm,
        (
            *_SIGN_IN,
            Code.OUT_OF_PLACE,
            Code.CONFIRMATION_WRONG,
            Code.ALREADY_ENROLLED,
            Code.ANOTHER_PERSON,
            Code.NOT_ALLOWED,
            Code.UNTRUSTED,
            Code.CHARTER_REQUIRED,
        ),
        signed=False,
    ),
    Operation(
        "get", "/v1/identity", "Who vouches for this account, and until when", sign_in.ProofHeld
    ),
    Operation(
        "post",
        "/v1/links/preview",
        "Which account an invitation joins",
        api.EnrolmentPreview,
        api.CodeGiven,
        _INVITED,
        signed=False,
    ),
    Operation(
        "post",
        "/v1/links",
        "A new device asks to be approved",
        api.LinkStatus,
        api.LinkRequest,
        (*_INVITED, Code.CODE_USED, Code.UNTRUSTED),
        status=202,
        signed=False,
    ),
    Operation(
        "post",
        "/v1/links/status",
        "Whether the new device is approved",
        api.LinkStatus,
        api.LinkRequest,
        (*_INVITED, Code.UNTRUSTED),
        signed=False,
    ),
    Operation(
        "post",
        "/v1/links/invitations",
        "Invite a new device to this account",
        api.LinkInvitation,
        status=201,
    ),
    Operation("get", "/v1/links", "Devices that wait for approval", api.PendingLinks),
    Operation(
        "post",
        "/v1/rosters",
        "Add or revoke devices: the next version of the roster",
        api.RosterAccepted,
        api.RosterProposed,
        (Code.UNTRUSTED, Code.ROSTER_CONFLICT, Code.RATE_LIMITED),
    ),
    Operation(
        "get",
        "/v1/accounts/{address}/rosters",
        "An account's rosters after a version",
        api.Rosters,
        codes=(Code.UNKNOWN_ACCOUNT,),
        query=(
            ("after", {"type": "integer", "minimum": 0, "default": 0}, "the version known already"),
        ),
    ),
    Operation(
        "get",
        "/v1/account/notices",
        "What will become of this account unless something is done",
        account.AccountNotices,
    ),
    Operation(
        "post",
        "/v1/attestations",
        "Vouch for a person without a national number",
        account.Attestations,
        account.Attest,
        (Code.NOT_ALLOWED, Code.NOT_FOUND, Code.LIMIT_REACHED, Code.RATE_LIMITED),
    ),
    Operation("get", "/v1/attestations", "For whom this account vouches", account.Attestations),
    Operation(
        "post",
        "/v1/attestations/withdraw",
        "Vouch no more for a person",
        account.Attestations,
        account.Attest,
        (Code.NOT_FOUND,),
    ),
    Operation(
        "get",
        "/v1/organisations",
        "For which organisations this account acts",
        organisations.AdministeredList,
        codes=(Code.BUSY,),
    ),
    Operation(
        "get",
        "/v1/organisations/{organisation}/people",
        "An organisation's people, and what became of them",
        organisations.OrganisationPage,
        codes=(Code.NOT_ALLOWED, Code.NOT_FOUND, Code.BUSY),
        query=(("cursor", WORD, "`next` of the page before"),),
    ),
    Operation(
        "post",
        "/v1/organisations/{organisation}/people",
        "Vouch for somebody without a national number",
        organisations.OrganisationDone,
        organisations.PersonOfOrganisation,
        _OWN,
    ),
    Operation(
        "post",
        "/v1/organisations/{organisation}/people/end",
        "Have nothing to do with somebody any more",
        organisations.OrganisationDone,
        organisations.PersonOfOrganisation,
        _OWN,
    ),
    Operation(
        "post",
        "/v1/organisations/{organisation}/codes",
        "Issue an enrolment code for one of the organisation's people",
        organisations.CodeIssued,
        organisations.CodeWanted,
        (
            *_OWN,
            Code.ALREADY_ENROLLED,
            Code.OUT_OF_PLACE,
            Code.CODE_USED,
            Code.CODE_EXPIRED,
        ),
        status=201,
    ),
    Operation(
        "post",
        "/v1/organisations/{organisation}/codes/end",
        "End codes that the organisation issued and nobody used",
        organisations.OrganisationDone,
        organisations.PersonOfOrganisation,
        _OWN,
    ),
    Operation(
        "post",
        "/v1/organisations/{organisation}/devices/end",
        "End devices of somebody for whom the organisation alone vouches",
        organisations.OrganisationDone,
        organisations.DevicesNamed,
        _OWN,
    ),
    Operation(
        "post",
        "/v1/organisations/{organisation}/leave",
        "Act for an organisation no more",
        organisations.OrganisationDone,
        codes=(Code.BUSY,),
    ),
    Operation(
        "post",
        "/v1/recoveries/preview",
        "Whose account a recovery code recovers",
        account.RecoveryPreview,
        api.CodeGiven,
        _CODES,
        signed=False,
    ),
    Operation(
        "post",
        "/v1/recoveries",
        "Found an account anew whose devices are lost; or see how that stands",
        account.RecoveryState,
        api.Enrol,
        (*_CODES, Code.RECOVERING, Code.SUSPENDED, Code.UNTRUSTED, Code.CHARTER_REQUIRED),
        signed=False,
    ),
    Operation(
        "post",
        "/v1/recoveries/veto",
        "Object to a recovery of this account",
        account.RecoveryState,
        codes=(Code.NOT_FOUND,),
    ),
    Operation(
        "post",
        "/v1/charter",
        "Accept a new version of the charter",
        api.CharterAccepted,
        api.CharterSigned,
        (Code.CHARTER_REQUIRED, Code.UNTRUSTED),
    ),
    Operation(
        "post",
        "/v1/prekeys",
        "Leave prekeys on the server",
        api.PrekeyCount,
        api.PrekeysUploaded,
        (Code.PREKEYS_STALE, Code.UNTRUSTED),
    ),
    Operation("get", "/v1/prekeys", "How many prekeys are left", api.PrekeyCount),
    Operation(
        "post",
        "/v1/prekeys/claim",
        "Take one prekey for each device",
        api.Prekeys,
        api.PrekeysClaimed,
        (Code.RATE_LIMITED,),
    ),
    Operation(
        "get",
        "/v1/directory",
        "Search the directory",
        directory.SearchPage,
        codes=(Code.NOT_FOUND, Code.RATE_LIMITED),
        query=(
            ("q", WORD, "words, each of which begins a word of the entry"),
            (
                "limit",
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": limits.PAGE_MAX,
                    "default": limits.PAGE_DEFAULT,
                },
                "entries of one page",
            ),
            ("cursor", WORD, "`next` of the page before"),
            ("kind", {"enum": ["person", "organisation"]}, "only entries of this kind"),
            ("profession", CODES, "only of one of these professions, by code (TRE_G15)"),
            ("speciality", CODES, "only of one of these specialities, by code (TRE_R38)"),
            ("department", WORD, "only with a place in this department: its number or its name"),
            ("reach", {"enum": ["miss", "dormant"]}, "only who can be reached at least so"),
            (
                "near",
                {"type": "string", "maxLength": filters.NEAR_MAX},
                "what is close first: postcode, commune (name, INSEE code) or `latitude,longitude`",
            ),
        ),
    ),
    Operation(
        "get",
        "/v1/directory/sources",
        "What the directory was made from, and of which day",
        directory.DirectorySources,
    ),
    Operation(
        "get",
        "/v1/directory/{person}",
        "One entry of the directory",
        directory.Entry,
        codes=(Code.NOT_FOUND,),
    ),
    Operation(
        "get",
        "/v1/contacts",
        "Everybody that the account met",
        meeting.ContactsPage,
        codes=(Code.BUSY,),
        query=(("cursor", WORD, "`next` of the page before"),),
    ),
    Operation(
        "post",
        "/v1/contacts",
        "Accept, decline, block or unblock somebody",
        meeting.Contact,
        meeting.ContactAct,
        (Code.UNKNOWN_ACCOUNT, Code.BUSY),
    ),
    Operation(
        "get",
        "/v1/reach",
        "Who may reach and find the account",
        meeting.ReachRules,
        codes=(Code.BUSY,),
    ),
    Operation(
        "put",
        "/v1/reach",
        "Say who may reach and find the account",
        meeting.ReachRules,
        meeting.ReachRules,
        (Code.BUSY,),
    ),
    Operation(
        "post",
        "/v1/invitations",
        "Invite somebody who is not on MiSS",
        invitations.InvitationPage,
        invitations.PersonNamed,
        (
            Code.NOT_FOUND,
            Code.ON_MISS,
            Code.NOT_TO_BE_INVITED,
            Code.RATE_LIMITED,
            Code.BUSY,
        ),
    ),
    Operation(
        "get",
        "/v1/invitations",
        "Whom this account invited",
        invitations.InvitationPage,
        codes=(Code.BUSY,),
        query=(("cursor", WORD, "`next` of the page before"),),
    ),
    Operation(
        "post",
        "/v1/wishes",
        "Ask to be told when somebody joins",
        invitations.Wishes,
        invitations.PersonNamed,
        (
            Code.NOT_FOUND,
            Code.ON_MISS,
            Code.TOO_MANY_WISHES,
            Code.RATE_LIMITED,
            Code.BUSY,
        ),
    ),
    Operation(
        "get",
        "/v1/wishes",
        "Whom this account waits for, and who has joined",
        invitations.Wishes,
        codes=(Code.BUSY,),
    ),
    Operation(
        "post",
        "/v1/wishes/withdraw",
        "Wait for somebody no longer",
        invitations.Wishes,
        invitations.PersonNamed,
        (Code.BUSY,),
    ),
    Operation(
        "post",
        "/v1/reports",
        "Show a message that this account received to the operator",
        reports.Report,
        reports.ReportMade,
        (
            Code.NOT_REPORTABLE,
            Code.REPORT_TOO_OLD,
            Code.UNKNOWN_ACCOUNT,
            Code.UNTRUSTED,
            Code.RATE_LIMITED,
            Code.BUSY,
        ),
    ),
    Operation(
        "get",
        "/v1/reports",
        "What this account has shown, and whether the operator is done with it",
        reports.ReportsPage,
        codes=(Code.BUSY,),
        query=(("cursor", WORD, "`next` of the page before"),),
    ),
    Operation(
        "post",
        "/v1/messages",
        "Send a message: the twin of the frame",
        f.Sent | f.Refused | f.RetrySend,
        f.Send,
    ),
    Operation(
        "post",
        "/v1/mailbox",
        "Acknowledge, then fetch what waits",
        api.MailboxPage,
        api.MailboxCall,
        (Code.SN_REUSED, Code.ACK_BEYOND, Code.NACK_UNKNOWN, Code.UNTRUSTED),
    ),
)

ALWAYS = (Code.MALFORMED, Code.TOO_LARGE, Code.NOT_DURABLE, Code.INTERNAL)
SIGNED = (
    Code.AUTH_FAILED,
    Code.CLOCK_SKEW,
    Code.REPLAYED,
    Code.REVOKED,
    Code.SUSPENDED,
    Code.RATE_LIMITED,
)


def bodies() -> list[Any]:
    """Every body of a call, the problem last."""
    types = [t for one in OPERATIONS for t in (one.body, one.reply) if t is not None]
    return [*types, api.Problem]


def http_schema() -> Json:
    """Every body of the HTTP calls."""
    _, parts = schemas(bodies(), "#/$defs/{name}")
    return {
        "$schema": DIALECT,
        "title": "Bodies of the HTTP calls",
        "description": "Requests, replies and problems, each under its name.",
        "$defs": parts,
    }
